"""``POST /logfire-mcp``: every tool over plain HTTP, and the hot path of measurements.

The body is ``{"tool": name, "arguments": {…}}``; the arguments of ``collect_metrics`` go as they
came from the socket to the parser of points, without a detour over dictionaries.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from mcp_api.asgi import JSON, Receive, Refusal, Scope, Send, header, send_bytes, send_refusal
from mcp_api.caller import Caller, header_client
from mcp_api.tool_calls import FULL_ANSWER, Outcome, ToolCalls
from mcp_api.tools.arguments import nearest
from mcp_api.tools.specs import COLLECT, SPECS_BY_NAME

KEY_CHARS_MAX = 256

_COLLECT = re.compile(
    rb'[ \t\r\n]*\{[ \t\r\n]*"tool"[ \t\r\n]*:[ \t\r\n]*"collect_metrics"[ \t\r\n]*,'
    rb'[ \t\r\n]*"arguments"[ \t\r\n]*:[ \t\r\n]*'
)
_END = re.compile(rb"\}[ \t\r\n]*\Z")
_END_BYTES = 64

_KEYS = ("tool", "arguments")
_NOT_JSON = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    tool: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


_decode_call = msgspec.json.Decoder(_Call).decode
_decode_arguments = msgspec.json.Decoder(dict[str, Any]).decode


class ToolRoute:
    """The handler. A refusal of the request is one of the answers below, never an exception."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content_type = header(scope, b"content-type").partition(";")[0].strip().lower()
        if content_type != "application/json":
            await send_refusal(
                send,
                Refusal(
                    415,
                    f"Content-Type is {content_type[:80] or 'missing'}; "
                    "send the request as application/json.",
                ),
            )
            return
        key = header(scope, b"idempotency-key") or None
        if key is not None and (len(key) > KEY_CHARS_MAX or not key.isprintable()):
            message = f"Idempotency-Key must be at most {KEY_CHARS_MAX} printable characters."
            await send_refusal(send, Refusal(400, message))
            return
        body = (await receive()).get("body", b"")
        full = header(scope, b"accept") == FULL_ANSWER
        outcome = None
        if place := _plain_arguments(body):
            outcome = await self._calls.collect_plain(body, place, _actor(scope), key, full=full)
        if outcome is None:
            call = _decoded(body)
            if isinstance(call, Refusal):
                await send_refusal(send, call)
                return
            outcome = await self._answer(call, _actor(scope), key, full=full)
        await send_bytes(send, outcome.status, JSON, outcome.body, outcome.headers)

    async def _answer(self, call: _Call, actor: str, key: str | None, *, full: bool) -> Outcome:
        if call.tool == COLLECT.name:
            return await self._calls.collect_http(call.arguments, actor, key, full=full)
        try:
            arguments = _decode_arguments(call.arguments)
        except _NOT_JSON as error:
            return Outcome.refused(Refusal(400, f"The arguments are not valid: {_said(error)}."))
        return await self._calls.call_http(call.tool, arguments, actor, key, full=full)


def _plain_arguments(body: bytes) -> tuple[int, int] | None:
    """From where to where the arguments of ``collect_metrics`` lie, if the call is written as most
    are. What lies between is not looked at yet."""
    head, tail = _COLLECT.match(body), _END.search(body, max(0, len(body) - _END_BYTES))
    if head is None or tail is None or tail.start() < head.end():
        return None
    return head.end(), tail.start()


def _decoded(body: bytes) -> _Call | Refusal:
    """The call that a body holds; every way in which it holds none has its sentence."""
    try:
        call = _decode_call(body)
    except msgspec.ValidationError as error:
        return Refusal(400, _shape_problem(body, str(error)))
    except _NOT_JSON as error:
        return Refusal(400, f"The body is not valid JSON: {_said(error)}.")
    if call.tool not in SPECS_BY_NAME:
        return Refusal(
            404, f"There is no tool {call.tool[:60]!r}; {nearest(call.tool, SPECS_BY_NAME)}."
        )
    return call


def _shape_problem(body: bytes, said: str) -> str:
    """JSON, but not a call: says which key is wrong, and how a call looks."""
    example = 'expected {"tool": "get_server_status", "arguments": {}}'
    try:
        got = msgspec.json.decode(body)
    except _NOT_JSON:
        return f"The body is not valid JSON; {example}."
    if not isinstance(got, dict):
        return f"The body is not a JSON object; {example}."
    for key in got:
        if key not in _KEYS:
            return f"The body has no key {key[:60]!r}; {nearest(key, _KEYS)}."
    if "tool" not in got:
        return f"The body has no 'tool'; {example}."
    return f"The body is not a tool call: {said}; {example}."


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error)


def _actor(scope: Scope) -> str:
    caller: Caller = scope["caller"]
    # A client that is attached for another (the stdio command) says for whom it calls.
    for name, value in scope["headers"]:
        if name == b"x-mcp-client":
            return Caller(caller.kind, header_client(value.decode("latin-1"))).actor
    return caller.actor
