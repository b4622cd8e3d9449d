"""A command of a tool call: sent once, and answered within five seconds, or not yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_api.tools.positions import position_token
from mcp_api.tools.times import iso
from projections.alert_queries import AlertQueries
from streams.commanding import Commander, command_id_of
from streams.errors import InputError
from streams.events.health import HealthCommand, HealthFact
from streams.events.rules import Command, CommandRefused, Fact

ANSWER_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One call that wants something done. ``command_id``: the same for a repetition of the call
    with its key; ids of what it makes follow from it, too."""

    tool: str
    arguments: Mapping[str, Any]
    actor: str
    command_id: str
    digest: bytes | None
    now_ms: int

    @classmethod
    def of(
        cls,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        actor: str,
        request_key: str | None,
        now_ms: int,
    ) -> Asked:
        """``request_key`` wins over the arguments' ``request_id``."""
        key = request_key if request_key is not None else arguments.get("request_id")
        rest = {name: value for name, value in arguments.items() if name != "request_id"}
        text = json.dumps([tool, rest], sort_keys=True, default=str)
        digest = None if key is None else hashlib.sha256(text.encode()).digest()
        return cls(tool, rest, actor, command_id_of(actor, key), digest, now_ms)

    @property
    def made_id(self) -> str:
        """Of the rule or silence that it makes."""
        return self.command_id[:16]


@dataclass(frozen=True, slots=True)
class Answered:
    """``fact`` None: the command is durable, and nobody has decided it yet. ``position``: of the
    fact, else of the command; reads take both as ``min_position``."""

    fact: Fact | HealthFact | None
    position: str
    at_ms: int

    def content(self) -> dict[str, Any]:
        """``status``, ``position``, ``as_of``, and what to do while it is pending."""
        content: dict[str, Any] = {
            "status": "pending" if self.fact is None else "success",
            "position": self.position,
            "as_of": {"time": iso(self.at_ms), "position": self.position},
        }
        if self.fact is None:
            content["hint"] = (
                "it is stored and will be done; a read with this position as min_position waits "
                "for the answer, and the same call with the same request_id gives it"
            )
        return content


class Desk:
    """Where commands are handed in: the log's way in, and the read model where answers show."""

    def __init__(
        self, commander: Commander, alerts: AlertQueries, *, wait_s: float = ANSWER_WAIT_S
    ) -> None:
        self._commander = commander
        self._alerts = alerts
        self._wait_s = wait_s

    async def hand_in(self, asked: Asked, command: Command | HealthCommand) -> Answered:
        """The answer, or none after ``wait_s``. `InputError` with the reason of a refusal;
        `RequestConflict`, `LogUnavailable`, `Overloaded` where nothing was taken."""
        sent = await self._commander.send(
            command, command_id=asked.command_id, actor=asked.actor, digest=asked.digest
        )
        answer = await self._alerts.wait_for_answer(sent.id, self._wait_s)
        if answer is None:
            return Answered(None, position_token([sent.position]), asked.now_ms)
        if isinstance(answer.fact, CommandRefused):
            raise InputError(answer.fact.reason)
        return Answered(answer.fact, position_token([answer.position]), answer.at_ms)

    async def decided(self, offset: int) -> None:
        """Returns when the command at this offset is answered, or after ``wait_s``."""
        command_id = await self._commander.id_at(offset)
        if command_id is not None:
            await self._alerts.wait_for_answer(command_id, self._wait_s)
