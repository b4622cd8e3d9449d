"""``/admin/rules``: GET gives every rule whole; POST takes rules as a rule file has them.

For callers on this machine, or with the token where one is configured. What is taken becomes
commands like any other: a rule whose id is new is created, one that differs is updated, an equal
one is left alone; each has its outcome in the answer.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from mcp_api.admin_routes import may_administer
from mcp_api.asgi import App, Receive, Refusal, Scope, Send, send_json, send_refusal
from mcp_api.caller import Caller
from mcp_api.tools.alert_parts import AlertParts
from mcp_api.tools.commanded import Asked
from mcp_api.tools.failures import error_content, http_status
from projections.alert_queries import RULES_MAX
from streams.errors import InputError, LogfireMcpError
from streams.events.rules import Command, CreateAlert, Rule, UpdateAlert
from streams.log.wall_clock import wall_clock_ms

RULES_A_REQUEST: Final = 200
"""More are refused: the answers are waited for."""


class _Taken(msgspec.Struct, forbid_unknown_fields=True):
    rules: list[Rule]


_decode = msgspec.json.Decoder(_Taken).decode


def all_rules_route(parts: AlertParts) -> App:
    """``{"rules": [{…rule, "state"}]}``, by name; without the deleted ones."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        if not await may_administer(scope, send):
            return
        try:
            found = await parts.in_thread(lambda: parts.alerts.rules(limit=RULES_MAX))
        except LogfireMcpError as error:
            await _failed(send, error)
            return
        told = [{"rule": each.rule, "state": each.state} for each in found.rules]
        await send_json(send, 200, {"rules": told})

    return answer


def take_rules_route(parts: AlertParts) -> App:
    """``{"outcomes": [{"id", "outcome", "reason"?}]}`` of up to 200 rules, in their order;
    outcome: created, updated, unchanged, pending or refused."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not await may_administer(scope, send):
            return
        try:
            rules = _decode((await receive()).get("body", b"")).rules
        except msgspec.MsgspecError as error:
            await send_refusal(send, Refusal(400, f"The body holds no rules: {error}."))
            return
        if len(rules) > RULES_A_REQUEST:
            message = f"{len(rules)} rules; at most {RULES_A_REQUEST} a request are taken."
            await send_refusal(send, Refusal(413, message))
            return
        caller: Caller = scope["caller"]
        try:
            outcomes = await asyncio.gather(*(_take(parts, rule, caller.actor) for rule in rules))
        except LogfireMcpError as error:
            await _failed(send, error)
            return
        await send_json(send, 200, {"outcomes": outcomes})

    return answer


async def _take(parts: AlertParts, rule: Rule, actor: str) -> dict[str, Any]:
    """Raises only what would be the same for every rule."""
    found = await parts.in_thread(lambda: parts.alerts.rule(rule.id))
    command: Command
    if found is None or found.rule.id != rule.id:
        command, outcome = CreateAlert(rule), "created"
    else:
        rule = msgspec.structs.replace(rule, version=found.rule.version, enabled=found.rule.enabled)
        if rule == found.rule:
            return {"id": rule.id, "outcome": "unchanged"}
        command, outcome = UpdateAlert(rule), "updated"
    asked = Asked.of("import", {}, actor=actor, request_key=None, now_ms=wall_clock_ms())
    try:
        answered = await parts.desk.hand_in(asked, command)
    except InputError as error:
        return {"id": rule.id, "outcome": "refused", "reason": str(error)}
    return {"id": rule.id, "outcome": "pending" if answered.fact is None else outcome}


async def _failed(send: Send, error: LogfireMcpError) -> None:
    status, headers = http_status(error)
    encoded = tuple((name.lower().encode(), text.encode()) for name, text in headers.items())
    await send_json(send, status, error_content(error), encoded)
