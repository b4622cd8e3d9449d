"""Commands in, answers out: which are done, which are refused, and each once."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from streams.events import rules as events
from streams.events.catalogue import DeadLettered, EventData, Ticked
from streams.events.codec import decode
from streams.events.rules import (
    AcknowledgeAlert,
    AlertAcknowledged,
    CommandRefused,
    CreateAlert,
    CreateSilence,
    DeleteAlert,
    DisableAlert,
    EnableAlert,
    ExpireSilence,
    Rule,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
    SilenceCreated,
    SilenceExpired,
    UpdateAlert,
)
from streams.events.topics import ALERTS, DEADLETTER, POINTS
from streams.log.protocol import Record
from streams.processors.commands import CommandsProcessor
from streams.processors.commands_state import (
    CHUNK,
    CHUNKS,
    DELETED_MAX,
    CommandsState,
    Memory,
    restored,
)
from streams.processors.seam import HEAD
from tests.effort import examples
from tests.flow.commanding import (
    BEGIN_MS,
    PROCESSOR,
    RECORDING,
    RULE,
    SILENCE,
    Run,
    histories,
    in_steps,
    interrupted,
    record_of,
    run,
)


def answers(done: Run) -> list[EventData]:
    return [
        decode(entry.message.headers, entry.message.body).data
        for entry in done.entries
        if entry.topic == ALERTS
    ]


def last(*data: EventData) -> Any:
    return answers(run(*data))[-1]


def refusal(*data: EventData, processor: CommandsProcessor = PROCESSOR) -> str:
    answer = answers(run(*data, processor=processor))[-1]
    assert isinstance(answer, CommandRefused), answer
    return answer.reason


def of(**changes: Any) -> Rule:
    return structs.replace(RULE, **changes)


def test_a_rule_is_created_and_told_to_every_partition_of_the_points() -> None:
    done = run(CreateAlert(of(version=7)))
    assert [(entry.topic, entry.partition) for entry in done.entries] == [
        (ALERTS, 0),
        (POINTS, 0),
        (POINTS, 1),
        (POINTS, 2),
    ]
    for entry in done.entries:
        event = decode(entry.message.headers, entry.message.body)
        assert event.data == RuleCreated(RULE)
        assert (event.envelope.actor, event.envelope.causation_id) == ("ann", "c0")


def test_each_change_of_a_rule_is_a_version_of_it() -> None:
    told = answers(
        run(
            CreateAlert(RULE),
            UpdateAlert(of(condition="cpu > 90")),
            DisableAlert("cpu"),
            EnableAlert("cpu"),
            DeleteAlert("cpu"),
        )
    )
    at_90 = of(condition="cpu > 90", version=2)
    assert told == [
        RuleCreated(RULE),
        RuleUpdated(at_90, "updated"),
        RuleUpdated(structs.replace(at_90, version=3, enabled=False), "disabled"),
        RuleUpdated(structs.replace(at_90, version=4), "enabled"),
        RuleDeleted(structs.replace(at_90, version=5)),
    ]


def test_a_deleted_rule_that_comes_again_goes_on_with_its_versions() -> None:
    assert last(CreateAlert(RULE), DeleteAlert("cpu"), CreateAlert(RULE)) == RuleCreated(
        of(version=3)
    )


def test_of_two_changes_made_at_once_the_second_is_refused() -> None:
    first, second = UpdateAlert(of(condition="cpu > 90")), UpdateAlert(of(condition="cpu > 70"))
    reason = refusal(CreateAlert(RULE), first, second)
    assert reason.startswith("the rule is at version 2 and the change is of version 1: read it")


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([UpdateAlert(RULE)], "there is no rule with the id cpu"),
        ([EnableAlert("nope")], "there is no rule with the id nope"),
        ([DeleteAlert("nope")], "there is no rule with the id nope"),
        ([AcknowledgeAlert("nope")], "there is no rule with the id nope"),
        ([events.TestAlert("nope")], "there is no rule with the id nope"),
        ([CreateAlert(RULE)] * 2, "a rule with the id cpu exists already: High CPU"),
        (
            [CreateAlert(RULE), CreateAlert(of(id="b", condition="x > 1"))],
            "the rule with the id cpu has the same name, severity and labels: their alerts could "
            "not be told apart; change one of the three",
        ),
        ([CreateAlert(of(name=""))], "name is empty"),
        ([CreateAlert(of(condition="cpu >"))], "condition cannot be evaluated: parse error"),
        ([CreateAlert(RULE), UpdateAlert(of(notify=("a", "a")))], "notify names a receiver twice"),
        ([CreateAlert(RULE), UpdateAlert(of(record="r"))], "what a rule records cannot be changed"),
        ([CreateAlert(RULE), EnableAlert("cpu")], "the rule is enabled already"),
        (
            [CreateAlert(RECORDING), events.TestAlert("sum")],
            "sum is a recording rule, which has no alert",
        ),
        ([CreateAlert(RULE), AcknowledgeAlert("cpu", "f" * 201)], "fingerprint is not one of an"),
        ([CreateAlert(RULE), AcknowledgeAlert("cpu", "", "c" * 4_097)], "comment has to be a text"),
        ([ExpireSilence("s1")], "there is no silence with the id s1, or it has ended"),
        ([CreateSilence(SILENCE), ExpireSilence("s1"), ExpireSilence("s1")], "there is no silence"),
        ([CreateSilence(SILENCE)] * 2, "a silence with the id s1 exists already"),
        ([CreateSilence(structs.replace(SILENCE, id=""))], "the id of a silence has 1 to 200"),
        ([CreateSilence(structs.replace(SILENCE, matchers=()))], "matchers are 0; valid: 1 to 50"),
        (
            [CreateSilence(structs.replace(SILENCE, starts_ms=0, ends_ms=BEGIN_MS))],
            "the silence has ended already",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason(
    history: list[EventData], reason: str
) -> None:
    done = run(*history)
    answer = answers(done)[-1]
    assert isinstance(answer, CommandRefused)
    assert answer.reason.startswith(reason)
    assert answer.command == done.records[-1].headers["ce_type"]
    before = run(*history[:-1]).restored().state
    assert replace(done.restored().state, answered=before.answered) == before


def test_silences_acknowledgements_and_tests_are_answered() -> None:
    assert last(CreateSilence(SILENCE)) == SilenceCreated(SILENCE)
    assert last(CreateSilence(SILENCE), ExpireSilence("s1")) == SilenceExpired("s1")
    assert last(CreateAlert(RULE), AcknowledgeAlert("cpu", "f", "mine")) == AlertAcknowledged(
        "cpu", "f", "mine"
    )
    assert last(CreateAlert(RULE), events.TestAlert("cpu")) == events.TestRequested(RULE)


def test_a_silence_that_has_ended_is_forgotten() -> None:
    short = structs.replace(SILENCE, ends_ms=BEGIN_MS + 1_500)
    assert refusal(CreateSilence(short), EnableAlert("a"), ExpireSilence("s1")).endswith("ended")
    again = structs.replace(SILENCE, ends_ms=BEGIN_MS + 90_000)
    assert last(CreateSilence(short), EnableAlert("a"), CreateSilence(again)) == SilenceCreated(
        again
    )


def test_there_are_only_so_many_rules_and_silences() -> None:
    few = CommandsProcessor(points_partitions=1, rules_max=1, silences_max=1)
    assert refusal(CreateAlert(RULE), CreateAlert(RECORDING), processor=few) == (
        "there are 1 rules, which is the most: delete some"
    )
    other = structs.replace(SILENCE, id="s2")
    assert refusal(CreateSilence(SILENCE), CreateSilence(other), processor=few) == (
        "there are 1 silences, which is the most: expire some"
    )
    small = CommandsProcessor(points_partitions=1, rule_bytes_max=100)
    assert refusal(CreateAlert(RULE), CreateAlert(RECORDING), processor=small) == (
        "all rules together have over 100 bytes: shorten some"
    )


def test_of_deleted_rules_only_the_newest_are_remembered() -> None:
    memory = Memory(CommandsState())
    for offset in range(DELETED_MAX + 1):
        memory.delete(of(id=f"r{offset}", version=2), offset)
    found = [memory.version_of_deleted(f"r{offset}") for offset in (0, 1, DELETED_MAX)]
    assert found == [0, 2, 2]


def test_a_command_that_comes_again_has_no_second_answer() -> None:
    records = [record_of(i, CreateAlert(RULE), "same") for i in range(3)]
    done = Run(records)
    tracked = done.feed(done.restored(), records[:1])
    done.feed(tracked, records[1:2])
    done.feed(done.restored(), records[2:])
    assert answers(done) == [RuleCreated(RULE)]


def test_commands_are_known_again_as_far_as_is_promised() -> None:
    count = CHUNK * CHUNKS + 10
    records = [record_of(i, EnableAlert("nope")) for i in range(count)]
    done = Run(records)
    tracked = done.feed(done.restored(), records)
    for state in (tracked.state, done.restored().state):
        assert all(state.answered.knows(f"c{i}") for i in range(count - 8_064, count))
        assert not state.answered.knows("c0")
    assert tracked.state == done.restored().state


def test_what_is_no_command_is_a_dead_letter_and_the_next_is_answered() -> None:
    good = record_of(2, CreateAlert(RULE))
    poison = replace(record_of(0, CreateAlert(RULE)), body=b"{")
    done = Run([poison, record_of(1, Ticked(BEGIN_MS)), good])
    done.feed(done.restored(), done.records)
    dead = [
        decode(entry.message.headers, entry.message.body).data
        for entry in done.entries
        if entry.topic == DEADLETTER
    ]
    assert [each.reason[:45] for each in dead if isinstance(each, DeadLettered)] == [
        "the body of commands.create_alert.v1 is not v",
        "clock.ticked.v1 does not belong on commands",
    ]
    assert answers(done) == [RuleCreated(RULE)]


def test_a_text_that_utf_8_cannot_write_is_refused_and_not_repeated() -> None:
    def with_surrogate(record: Record) -> Record:
        return replace(record, body=record.body.replace(b"@@", b"\\ud800"))

    asked = [
        CreateAlert(of(id="@@")),
        CreateAlert(of(name="@@")),
        DeleteAlert("@@"),
        CreateSilence(structs.replace(SILENCE, id="@@")),
        CreateSilence(structs.replace(SILENCE, matchers=("a=@@",))),
        CreateSilence(structs.replace(SILENCE, comment="@@")),
        ExpireSilence("@@"),
    ]
    records = [with_surrogate(record_of(i, each)) for i, each in enumerate(asked)]
    done = Run(records)
    done.feed(done.restored(), records)
    assert [type(answer) for answer in answers(done)] == [CommandRefused] * len(asked)


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=examples(60), deadline=None)
def test_however_the_log_is_cut_into_steps_the_answers_are_the_same(
    records: list[Record], dice: random.Random
) -> None:
    whole = in_steps(records, len(records) + 1)
    for other in (in_steps(records, 1), in_steps(records, 7), interrupted(records, dice)):
        assert other.entries == whole.entries
        assert other.table == whole.table


@given(histories())
@settings(max_examples=examples(60), deadline=None)
def test_each_command_has_one_answer_and_the_rules_are_those_that_were_told(
    records: list[Record],
) -> None:
    done = in_steps(records, 3)
    caused = [
        entry.message.headers["ce_causationid"] for entry in done.entries if entry.topic == ALERTS
    ]
    valid = [
        record.headers["ce_id"]
        for record in records
        if record.body and record.headers["ce_type"] in events.WIRE_NAMES
    ]
    assert caused == list(dict.fromkeys(valid))
    told: dict[str, Rule] = {}
    for answer in answers(done):
        match answer:
            case RuleCreated(rule) | RuleUpdated(rule, _):
                assert rule.version == getattr(told.get(rule.id), "version", rule.version - 1) + 1
                told[rule.id] = rule
            case RuleDeleted(rule):
                assert told.pop(rule.id).version == rule.version - 1
    table = {key: value for key, value in done.table.items() if key != HEAD}
    assert dict(restored(table).rules.items()) == told
