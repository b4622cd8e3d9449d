"""Commands to facts: each is answered once, by a fact or by a refusal with its reason.

Answers go to ``alerts.events``; what is decided of rules also goes into every partition of the
points, where it is in force from a tick on, and what is decided of targets into their partition of
``health.results``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, assert_never

import msgspec
from msgspec import structs

from streams.domain.rules import RULES_MAX, TEXT_CHARS_MAX, identity, problems, sentence
from streams.domain.silences import check_silence
from streams.domain.unicode_text import cleaned, is_text
from streams.errors import InputError, PoisonError
from streams.events.codec import decode
from streams.events.health import HealthCommand
from streams.events.rules import (
    AcknowledgeAlert,
    AlertAcknowledged,
    Command,
    CommandRefused,
    CreateAlert,
    CreateSilence,
    DeleteAlert,
    DisableAlert,
    EnableAlert,
    ExpireSilence,
    Fact,
    Rule,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
    Silence,
    SilenceCreated,
    SilenceExpired,
    TestAlert,
    TestRequested,
    UpdateAlert,
)
from streams.events.topics import ALERTS, COMMANDS, HEALTH_RESULTS, POINTS
from streams.log.protocol import Record
from streams.processors import commands_targets
from streams.processors.commands_state import CommandsState, Memory, restored, rule_size
from streams.processors.deadletter import dead_letter
from streams.processors.seam import Out, ReadBack, Step

SILENCE_BYTES_MAX: Final = 16_384
REASON_CHARS_MAX: Final = 2_000
TARGET_CHARS_MAX: Final = 200


class _Refused(Exception):
    """Why a command is not done, as a sentence."""


@dataclass(frozen=True, slots=True)
class CommandsProcessor:
    """Decides commands in the order of the log.

    A command whose id was answered before has no second answer, as far back as 8,064 commands.
    ``points_partitions``: of the log, never changed. ``rule_bytes_max``: of all rules together, as
    JSON. ``silences_max``: that have not ended, by the time of the record that asks for another.
    """

    points_partitions: int
    rules_max: int = RULES_MAX
    rule_bytes_max: int = 16 << 20
    silences_max: int = 10_000
    name: str = field(default="commands", init=False)
    topic: str = field(default=COMMANDS, init=False)
    prompt: bool = field(default=True, init=False)

    def restore(
        self,
        table: Mapping[str, bytes],
        end: int,  # noqa: ARG002
        read_back: ReadBack,  # noqa: ARG002
    ) -> CommandsState:
        """From the table alone."""
        return restored(table)

    def step(self, state: CommandsState, records: Sequence[Record]) -> Step[CommandsState]:
        """Decides each."""
        memory = Memory(state)
        events: list[Out] = []
        for record in records:
            events += self._taken(memory, record)
        return Step(memory.after(), memory.changes(), tuple(events))

    def newest_tick_ms(self, state: CommandsState) -> int | None:  # noqa: ARG002
        """None: ticks are nothing to it."""
        return None

    def due_ms(self, state: CommandsState) -> int | None:  # noqa: ARG002
        """None: it waits for nothing but commands."""
        return None

    def _taken(self, memory: Memory, record: Record) -> list[Out]:
        try:
            event = decode(record.headers, record.body)
        except PoisonError as error:
            return [dead_letter(record, str(error))]
        command = event.data
        if not isinstance(command, Command | HealthCommand):
            reason = f"{record.headers['ce_type']} does not belong on {record.topic}"
            return [dead_letter(record, reason)]
        if memory.knows(event.envelope.id):
            return []
        memory.answer(event.envelope.id)
        try:
            if isinstance(command, HealthCommand):
                return self._of_target(memory, command, record)
            fact = _decided(self, memory, command, record)
        except (_Refused, InputError) as refused:
            fact = CommandRefused(
                command=record.headers["ce_type"],
                target=cleaned(_target(command), TARGET_CHARS_MAX),
                reason=cleaned(str(refused), REASON_CHARS_MAX),
            )
        answer = [Out(ALERTS, fact, record, partition=0)]
        if isinstance(fact, RuleCreated | RuleUpdated | RuleDeleted):
            partitions = range(self.points_partitions)
            answer += [Out(POINTS, fact, record, partition=number) for number in partitions]
        return answer

    def _of_target(self, memory: Memory, command: HealthCommand, record: Record) -> list[Out]:
        actor, count = record.headers.get("ce_actor", ""), self.points_partitions
        answer, told = commands_targets.decided(memory.targets, command, actor, count)
        facts = [Out(HEALTH_RESULTS, fact, record, partition=number) for number, fact in told]
        return [Out(ALERTS, answer, record, partition=0), *facts]


def _decided(limits: CommandsProcessor, memory: Memory, command: Command, record: Record) -> Fact:
    """The fact, which the memory holds then; `_Refused` leaves it as it was."""
    match command:
        case CreateAlert(rule):
            return RuleCreated(_created(limits, memory, rule))
        case UpdateAlert(rule):
            return RuleUpdated(_updated(limits, memory, rule), "updated")
        case EnableAlert(alert_id):
            return _switched(memory, alert_id, "enabled")
        case DisableAlert(alert_id):
            return _switched(memory, alert_id, "disabled")
        case DeleteAlert(alert_id):
            rule = _known(memory, alert_id)
            rule = structs.replace(rule, version=rule.version + 1)
            memory.delete(rule, record.offset)
            return RuleDeleted(rule)
        case AcknowledgeAlert(alert_id, fingerprint, comment):
            _known(memory, alert_id, notifies=True)
            if len(fingerprint) > TARGET_CHARS_MAX or not is_text(fingerprint):
                raise _Refused("fingerprint is not one of an alert")
            _check_comment(comment)
            return AlertAcknowledged(alert_id, fingerprint, comment)
        case CreateSilence(silence):
            return SilenceCreated(_silenced(limits, memory, silence, record.at_ms))
        case ExpireSilence(silence_id):
            ends_ms = memory.silences.get(silence_id)
            if ends_ms is None or ends_ms <= record.at_ms:
                raise _Refused(f"there is no silence with the id {silence_id}, or it has ended")
            memory.silences.delete(silence_id)
            return SilenceExpired(silence_id)
        case TestAlert(alert_id):
            return TestRequested(_known(memory, alert_id, notifies=True))
        case _:
            assert_never(command)


def _created(limits: CommandsProcessor, memory: Memory, asked: Rule) -> Rule:
    """A rule that has the id of a deleted one goes on with its versions."""
    rule = structs.replace(asked, version=memory.version_of_deleted(asked.id) + 1)
    if (before := memory.rules.get(rule.id)) is not None:
        raise _Refused(f"a rule with the id {rule.id} exists already: {before.name}")
    if len(memory.rules) >= limits.rules_max:
        raise _Refused(f"there are {limits.rules_max} rules, which is the most: delete some")
    _check(limits, memory, rule)
    memory.put(rule)
    return rule


def _updated(limits: CommandsProcessor, memory: Memory, asked: Rule) -> Rule:
    before = _known(memory, asked.id)
    if asked.version != before.version:
        raise _Refused(
            f"the rule is at version {before.version} and the change is of version "
            f"{asked.version}: read it again and repeat the change"
        )
    if asked.record != before.record:
        raise _Refused("what a rule records cannot be changed: create another rule and delete this")
    rule = structs.replace(asked, version=before.version + 1)
    _check(limits, memory, rule)
    memory.put(rule)
    return rule


def _switched(memory: Memory, alert_id: str, change: Literal["enabled", "disabled"]) -> RuleUpdated:
    before = _known(memory, alert_id)
    if before.enabled == (change == "enabled"):
        raise _Refused(f"the rule is {change} already")
    rule = structs.replace(before, enabled=not before.enabled, version=before.version + 1)
    memory.put(rule)
    return RuleUpdated(rule, change)


def _known(memory: Memory, alert_id: str, *, notifies: bool = False) -> Rule:
    rule = memory.rules.get(alert_id)
    if rule is None:
        raise _Refused(f"there is no rule with the id {alert_id}")
    if notifies and rule.record:
        raise _Refused(f"{rule.name} is a recording rule, which has no alerts")
    return rule


def _check(limits: CommandsProcessor, memory: Memory, rule: Rule) -> None:
    if found := problems(rule):
        raise _Refused(sentence(found))
    other = memory.taken.get(identity(rule))
    if other is not None and other != rule.id:
        raise _Refused(
            f"the rule with the id {other} has the same name, severity and labels: their alerts "
            "could not be told apart; change one of the three"
        )
    if memory.rule_bytes + rule_size(rule) > limits.rule_bytes_max:
        raise _Refused(
            f"all rules together have over {limits.rule_bytes_max:,} bytes: shorten some"
        )


def _silenced(limits: CommandsProcessor, memory: Memory, silence: Silence, now_ms: int) -> Silence:
    memory.forget_silences(now_ms)
    if not is_text(silence.id) or not 0 < len(silence.id) <= TARGET_CHARS_MAX:
        raise _Refused(f"the id of a silence has 1 to {TARGET_CHARS_MAX} characters")
    if memory.silences.get(silence.id) is not None:
        raise _Refused(f"a silence with the id {silence.id} exists already")
    if silence.ends_ms <= now_ms:
        raise _Refused("the silence has ended already")
    if len(memory.silences) >= limits.silences_max:
        raise _Refused(f"there are {limits.silences_max} silences, which is the most: expire some")
    _check_comment(silence.comment)
    try:
        check_silence(silence)
        size = len(msgspec.json.encode(silence))
    except InputError as problem:
        raise _Refused(str(problem)) from None
    except UnicodeEncodeError:
        raise _Refused("the silence holds a lone surrogate, which UTF-8 cannot write") from None
    if size > SILENCE_BYTES_MAX:
        raise _Refused(f"the silence has {size} bytes as JSON; at most {SILENCE_BYTES_MAX}")
    memory.silences.put(silence.id, silence.ends_ms)
    return silence


def _check_comment(comment: str) -> None:
    if len(comment) > TEXT_CHARS_MAX or not is_text(comment):
        raise _Refused(f"comment has to be a text of at most {TEXT_CHARS_MAX} characters")


def _target(command: Command | HealthCommand) -> str:
    if isinstance(command, HealthCommand):
        return commands_targets.addressed(command)
    match command:
        case CreateAlert(rule) | UpdateAlert(rule):
            return rule.id
        case CreateSilence(silence):
            return silence.id
        case ExpireSilence(silence_id):
            return silence_id
        case _:
            return command.alert_id
