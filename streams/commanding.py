"""`Commander`: appends commands, each once, and says where.

A command is answered by a fact or a refusal on ``alerts.events`` whose causation id is the
command's id; who wants the answer waits for that.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from streams import tracing
from streams.errors import InputError, OffsetOutOfRange, RequestConflict
from streams.events.catalogue import Envelope, Event
from streams.events.codec import encode
from streams.events.health import HealthCommand
from streams.events.rules import Command, CreateAlert, Rule
from streams.events.topics import COMMANDS
from streams.log.protocol import Append, DuplicateRequest, Entry, EventLog, Position, RequestKey
from streams.log.wall_clock import wall_clock_ms

SOURCE: Final = "commander"
DEFAULTS: Final = "defaults"
"""The actor of `Commander.begin_with`."""
KEY_BYTES_MAX: Final = 256
_ID_CHARS = 32


@dataclass(frozen=True, slots=True)
class Sent:
    """``id``: of the command, which its answer names as its cause. ``again``: it was appended
    before, under the same key; ``position`` is where it lies since then."""

    id: str
    position: Position
    again: bool = False


def command_id_of(actor: str, request_key: str | None) -> str:
    """With a key always the same one, for this actor; else a new one.

    `InputError` for a key that is empty or longer than 256 bytes.

    >>> command_id_of("me", "k") == command_id_of("me", "k") != command_id_of("you", "k")
    True
    """
    if request_key is None:
        return uuid.uuid4().hex
    size = len(request_key.encode("utf-8", "replace"))
    if not 0 < size <= KEY_BYTES_MAX:
        raise InputError(
            f"request_id has {size} bytes; valid are 1 to {KEY_BYTES_MAX}", field="request_id"
        )
    return hashlib.sha256(repr((actor, request_key)).encode()).hexdigest()[:_ID_CHARS]


class Commander:
    """For one event loop; ``log`` is the server's."""

    def __init__(self, log: EventLog, *, clock: Callable[[], int] = wall_clock_ms) -> None:
        self._log = log
        self._clock = clock

    async def send(
        self,
        command: Command | HealthCommand,
        *,
        command_id: str,
        actor: str,
        digest: bytes | None = None,
    ) -> Sent:
        """Returns when the command is durable.

        ``command_id``: of `command_id_of`. ``digest``: of the request, where it has a key: a
        repetition is not appended again, and one with another digest is a `RequestConflict`. Where
        the log cannot tell (on Kafka, in a small gap), the processor of commands leaves the second
        out by its id. Raises `LogUnavailable`, `Overloaded`.
        """
        envelope = Envelope(
            id=command_id,
            source=SOURCE,
            time_ms=self._clock(),
            actor=actor,
            traceparent=tracing.current(),
        )
        entry = Entry(COMMANDS, 0, encode(Event(envelope, command)))
        key = f"{actor}/{SOURCE}/{command_id}"
        keys = () if digest is None else (RequestKey(key, digest),)
        try:
            receipt = await self._log.append(Append((entry,), keys))
        except DuplicateRequest as duplicate:
            known = duplicate.known[key]
            if known.digest != digest:
                raise RequestConflict(
                    "the idempotency key was used before for a request with other content; "
                    "use a new key for each request, and the same one only to repeat it unchanged"
                ) from duplicate
            return Sent(command_id, known.receipt.positions[0], again=True)
        return Sent(command_id, receipt.positions[0])

    async def begin_with(self, rules: Iterable[Rule]) -> None:
        """Creates these rules where nobody has commanded anything yet: at the log's first start.

        Two nodes that do so at the same moment send the same commands, which count once.
        """
        if (await self._log.end_positions(COMMANDS))[0] > 0:
            return
        now_ms = self._clock()
        entries = []
        for rule in rules:
            envelope = Envelope(f"{DEFAULTS}/{rule.id}", SOURCE, now_ms, actor=DEFAULTS)
            entries.append(Entry(COMMANDS, 0, encode(Event(envelope, CreateAlert(rule)))))
        await self._log.append(Append(tuple(entries)))

    async def id_at(self, offset: int) -> str | None:
        """The id of the command that lies there; None where nothing does."""
        try:
            records = await self._log.read(COMMANDS, 0, offset, records_max=1)
        except OffsetOutOfRange:
            return None
        return records[0].headers.get("ce_id") if records else None
