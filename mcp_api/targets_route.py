"""``/admin/targets``: what is checked; GET lists, POST registers, DELETE ``?name=`` removes.

For callers on this machine, or with the token where one is configured. A body is what
``HEALTH_TARGETS`` names, TOML or JSON, and is held to the same rules. What came over the network
starts no process and is asked only at public addresses or in ``HEALTH_ALLOWED_NETWORKS``; what the
configuration registered is changed there alone.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import parse_qsl

from mcp_api.admin_routes import may_administer
from mcp_api.asgi import App, Receive, Refusal, Scope, Send, send_json, send_refusal
from mcp_api.caller import Caller
from mcp_api.tools.alert_parts import AlertParts
from mcp_api.tools.commanded import Asked
from mcp_api.tools.failures import error_content, http_status
from mcp_api.tools.times import iso
from projections.health_queries import HealthQueries, TargetStatus
from streams.config import Settings
from streams.domain.targets import read_targets
from streams.errors import ConfigError, InputError, LogfireMcpError
from streams.events.health import HealthCommand, RegisterTarget, RemoveTarget, Target
from streams.log.wall_clock import wall_clock_ms
from streams.processors.commands_targets import CONFIGURATION

TARGETS_A_REQUEST: Final = 200
"""More are refused: the answers are waited for."""
_CONFIGURED: Final = (
    "it comes from the configuration; change it there (HEALTH_TARGETS, DEFAULT_TARGETS)"
)


def all_targets_route(parts: AlertParts, health: HealthQueries) -> App:
    """``{"targets": [{"target", "state", "reason", "registered_by", "registered_at",
    "last_check"}]}``, by name."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        if not await may_administer(scope, send):
            return
        try:
            found = await parts.in_thread(health.targets)
        except LogfireMcpError as error:
            await _failed(send, error)
            return
        await send_json(send, 200, {"targets": [_told(each) for each in found]})

    return answer


def take_targets_route(parts: AlertParts, health: HealthQueries, settings: Settings) -> App:
    """``{"outcomes": [{"name", "outcome", "reason"?}]}`` of up to 200 targets, in their order;
    outcome: registered, replaced, unchanged, pending or refused. Answers once each is decided."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not await may_administer(scope, send):
            return
        try:
            targets = _read((await receive()).get("body", b""), settings)
            found = await parts.in_thread(health.targets)
            known = {each.target.name: each for each in found}
            actor = _actor(scope)
            taking = (_take(parts, each, known.get(each.name), actor) for each in targets)
            outcomes = await asyncio.gather(*taking)
        except LogfireMcpError as error:
            await _failed(send, error)
            return
        await send_json(send, 200, {"outcomes": outcomes})

    return answer


def remove_target_route(parts: AlertParts, health: HealthQueries) -> App:
    """``{"name", "outcome"}``, removed or pending; its history stays. 404 where there is none."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        if not await may_administer(scope, send):
            return
        name = dict(parse_qsl(scope["query_string"].decode("ascii", "replace"))).get("name", "")
        try:
            status = await parts.in_thread(lambda: health.target(name))
            if status is None:
                await send_refusal(send, Refusal(404, f"There is no target {name[:100]!r}."))
                return
            if status.registered_by == CONFIGURATION:
                await send_refusal(send, Refusal(409, f"{name[:100]!r} stays: {_CONFIGURED}."))
                return
            outcome = await _hand_in(parts, RemoveTarget(name), _actor(scope), "removed")
        except LogfireMcpError as error:
            await _failed(send, error)
            return
        await send_json(send, 200, {"name": name, "outcome": outcome})

    return answer


def _told(one: TargetStatus) -> dict[str, Any]:
    return {
        "target": one.target,
        "state": one.state,
        "reason": one.reason,
        "registered_by": one.registered_by,
        "registered_at": iso(one.registered_ms),
        "last_check": None if one.last is None else iso(one.last.at_ms),
    }


def _read(body: bytes, settings: Settings) -> list[Target]:
    """`InputError` names the first target that is wrong, and why."""
    interval_ms = 1_000 * settings.health_check_interval_s
    timeout_ms = min(1_000 * settings.health_check_timeout_s, interval_ms)
    try:
        found = read_targets(body.decode(), interval_ms, timeout_ms)
    except UnicodeDecodeError as error:
        raise InputError(f"the body is not UTF-8: {error}") from error
    except ConfigError as error:
        problem = str(error).removeprefix("HEALTH_TARGETS: ")
        raise InputError(f"the body holds no targets: {problem}", field="targets") from error
    if len(found.targets) > TARGETS_A_REQUEST:
        raise InputError(
            f"{len(found.targets)} targets; at most {TARGETS_A_REQUEST} a request are taken",
            field="targets",
        )
    return list(found.targets.values())


async def _take(
    parts: AlertParts, target: Target, known: TargetStatus | None, actor: str
) -> dict[str, Any]:
    """Raises only what would be the same for every target."""
    outcome = "registered"
    if known is not None:
        if known.target == target:
            return {"name": target.name, "outcome": "unchanged"}
        if known.registered_by == CONFIGURATION:
            return {"name": target.name, "outcome": "refused", "reason": _CONFIGURED}
        outcome = "replaced"
    try:
        outcome = await _hand_in(parts, RegisterTarget(target), actor, outcome)
    except InputError as error:
        return {"name": target.name, "outcome": "refused", "reason": str(error)}
    return {"name": target.name, "outcome": outcome}


async def _hand_in(parts: AlertParts, command: HealthCommand, actor: str, outcome: str) -> str:
    asked = Asked.of("targets", {}, actor=actor, request_key=None, now_ms=wall_clock_ms())
    answered = await parts.desk.hand_in(asked, command)
    return "pending" if answered.fact is None else outcome


def _actor(scope: Scope) -> str:
    caller: Caller = scope["caller"]
    return caller.actor


async def _failed(send: Send, error: LogfireMcpError) -> None:
    status, headers = http_status(error)
    encoded = tuple((name.lower().encode(), text.encode()) for name, text in headers.items())
    await send_json(send, status, error_content(error), encoded)
