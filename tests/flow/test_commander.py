"""Commands go into the log once, whoever repeats them, and the first ones at its first start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streams.commanding import DEFAULTS, Commander, command_id_of
from streams.domain.default_rules import DEFAULT_RULES
from streams.errors import InputError, RequestConflict
from streams.events.codec import decode
from streams.events.rules import CreateAlert, DeleteAlert
from streams.events.topics import COMMANDS
from streams.log.sqlite_log import SqliteLog

NOW_MS = 1_767_268_800_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog.open(tmp_path / "log.db")) as opened:
        yield opened


async def test_a_command_says_who_wants_what_and_its_id_finds_it(log: SqliteLog) -> None:
    commander = Commander(log, clock=lambda: NOW_MS)
    sent = await commander.send(DeleteAlert("a"), command_id="c1", actor="local/me")
    [record] = log.read_now(COMMANDS, 0, 0)
    event = decode(record.headers, record.body)
    assert event.data == DeleteAlert("a")
    assert (event.envelope.id, event.envelope.actor) == ("c1", "local/me")
    assert event.envelope.time_ms == NOW_MS
    assert sent.position == record.position
    assert await commander.id_at(0) == "c1"
    assert await commander.id_at(1) is None
    assert await commander.id_at(9) is None


async def test_a_repetition_is_where_the_first_one_is_and_another_content_a_conflict(
    log: SqliteLog,
) -> None:
    commander = Commander(log)
    key = command_id_of("local/me", "k")
    first = await commander.send(DeleteAlert("a"), command_id=key, actor="local/me", digest=b"1")
    second = await commander.send(DeleteAlert("a"), command_id=key, actor="local/me", digest=b"1")
    assert not first.again
    assert second.again
    assert second.position == first.position
    with pytest.raises(RequestConflict):
        await commander.send(DeleteAlert("b"), command_id=key, actor="local/me", digest=b"2")
    assert len(log.read_now(COMMANDS, 0, 0)) == 1


def test_a_key_names_the_command_of_one_caller_and_none_names_a_new_one() -> None:
    assert command_id_of("a", "k") == command_id_of("a", "k")
    assert command_id_of("a", "k") != command_id_of("b", "k")
    assert command_id_of("a", None) != command_id_of("a", None)
    with pytest.raises(InputError, match="257 bytes"):
        command_id_of("a", "k" * 257)


async def test_the_default_rules_are_created_where_nobody_has_commanded_anything(
    log: SqliteLog,
) -> None:
    commander = Commander(log)
    await commander.begin_with(DEFAULT_RULES)
    await commander.begin_with(DEFAULT_RULES)
    events = [decode(r.headers, r.body) for r in log.read_now(COMMANDS, 0, 0)]
    assert [event.data for event in events] == [CreateAlert(rule) for rule in DEFAULT_RULES]
    assert {event.envelope.actor for event in events} == {DEFAULTS}


async def test_they_do_not_come_where_somebody_was_first(log: SqliteLog) -> None:
    commander = Commander(log)
    await commander.send(DeleteAlert("a"), command_id="c1", actor="local/me")
    await commander.begin_with(DEFAULT_RULES)
    assert len(log.read_now(COMMANDS, 0, 0)) == 1
