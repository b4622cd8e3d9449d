"""Numbered outputs: repeats of a zombie are left out, a loss is loud."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.duck import DuckProjection
from projections.projector import Projector
from projections.verify import verify
from streams.errors import ProjectionError
from streams.events.topics import DEADLETTER, POINTS, WINDOWS
from streams.log.protocol import Append, Message, Record
from streams.log.sqlite_log import SqliteLog
from streams.processors.outputs import Output, is_repeat, missing_before, output_of
from streams.processors.seam import advance, restore
from streams.processors.windows import WindowsProcessor
from tests.projections.making import (
    BEGIN_MS,
    append_message,
    collect,
    everything,
    hashes,
    open_log,
    text,
    tick,
)

A = text("a")
MAKER = ("windows", 0)


def made_by_windows(log: SqliteLog, partition: int = 0) -> list[Message]:
    """What the windows processor tells of the log so far; dead letters go to the log at once."""
    processor = WindowsProcessor()
    records = log.read_now(POINTS, partition, 0, records_max=10_000)
    _, _, entries = advance(
        processor, partition, restore(processor, {}, lambda _begin, _end: []), records
    )
    dead = tuple(entry for entry in entries if entry.topic == DEADLETTER)
    if dead:
        log.submit(Append(dead)).result()
    return [entry.message for entry in entries if entry.topic == WINDOWS]


@pytest.fixture
def outputs(log: SqliteLog) -> list[Message]:
    """Five windows, and between them a poison record: its number goes to another topic."""
    for minute in range(5):
        collect(log, [(A, BEGIN_MS + minute * 60_000, float(minute))])
        if minute in {0, 3}:
            append_message(log, Message({"ce_type": "unknown.v1"}, b"?"))
        tick(log, BEGIN_MS + minute * 60_000 + 90_000)
    made = made_by_windows(log)
    assert [message.headers["ce_id"] for message in made] == [
        f"windows/0/{number}" for number in (1, 2, 3, 5, 6)
    ]
    return made


def windows_of(projection: DuckProjection) -> list[tuple[int, int]]:
    with closing(projection.cursor()) as cursor:
        return cursor.execute("SELECT start_ms, count FROM windows ORDER BY 1").fetchall()  # type: ignore[no-any-return]


WHOLE = [(BEGIN_MS + minute * 60_000, 1) for minute in range(5)]


def test_a_number_that_went_to_another_topic_is_no_loss(
    log: SqliteLog, projection: DuckProjection, outputs: list[Message]
) -> None:
    for message in outputs:
        append_message(log, message, topic=WINDOWS)
    everything(log, projection)
    assert windows_of(projection) == WHOLE
    assert projection.repeats() == 0


def test_outputs_that_come_again_are_left_out_and_counted(
    log: SqliteLog, path: Path, outputs: list[Message]
) -> None:
    for message in (*outputs[:3], *outputs[1:4], outputs[0], *outputs[3:]):
        append_message(log, message, topic=WINDOWS)
    with closing(DuckProjection.open(path, log)) as projection:
        records = log.read_now(WINDOWS, 0, 0)
        for record in records[:5]:
            projection.apply([record])  # a transaction each
    with closing(DuckProjection.open(path, log)) as projection:
        projection.apply(records[5:])
        everything(log, projection)
        assert windows_of(projection) == WHOLE
        assert projection.repeats() == 4
        assert projection.positions()[WINDOWS, 0] == 9
        assert verify(log, hashes(projection)).equal


def test_a_lost_output_stops_the_projection_loudly(
    log: SqliteLog, projection: DuckProjection, outputs: list[Message]
) -> None:
    for message in (outputs[0], outputs[2]):
        append_message(log, message, topic=WINDOWS)
    with pytest.raises(ProjectionError, match=r"windows/0/3 comes after 2, but the newest .* is 1"):
        projection.apply(log.read_now(WINDOWS, 0, 0))
    assert windows_of(projection) == [], "nothing of it is stored"
    append_message(log, outputs[1], topic=WINDOWS)
    assert projection.apply(log.read_now(WINDOWS, 0, 0, records_max=1)) == 1


def test_nothing_is_asked_of_the_first_output_that_is_seen(
    log: SqliteLog, projection: DuckProjection, outputs: list[Message]
) -> None:
    for message in outputs[3:]:
        append_message(log, message, topic=WINDOWS)
    everything(log, projection)
    assert windows_of(projection) == WHOLE[3:]


def test_each_partition_has_numbers_of_its_own(tmp_path: Path, path: Path) -> None:
    with closing(open_log(tmp_path, partitions=2)) as log:
        for partition in range(2):
            collect(log, [(text(f"m{partition}"), BEGIN_MS, 1.0)], partition=partition)
            tick(log, BEGIN_MS + 90_000, partition=partition)
            for message in made_by_windows(log, partition):
                for _ in range(2):
                    append_message(log, message, topic=WINDOWS, partition=partition)
        with closing(DuckProjection.open(path, log)) as projection:
            everything(log, projection)
            assert windows_of(projection) == [(BEGIN_MS, 1), (BEGIN_MS, 1)]
            assert projection.repeats() == 2


def test_a_damaged_output_counts_as_come(
    log: SqliteLog, projection: DuckProjection, outputs: list[Message]
) -> None:
    damaged = Message(outputs[1].headers, b"not arrow")
    for message in (outputs[0], damaged, outputs[2]):
        append_message(log, message, topic=WINDOWS)
    everything(log, projection)
    assert (projection.poison(), windows_of(projection)) == (3, [WHOLE[0], WHOLE[2]])


def test_a_mark_changed_by_hand_is_found(
    log: SqliteLog, path: Path, outputs: list[Message]
) -> None:
    for message in outputs:
        append_message(log, message, topic=WINDOWS)
    with closing(DuckProjection.open(path, log)) as projection:
        everything(log, projection)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE marks SET out_seq = out_seq + 1")
    with closing(DuckProjection.open(path, log)) as projection:
        report = verify(log, hashes(projection))
    assert [line.split(":")[0] for line in report.differences] == ["marks"]


def test_a_file_of_the_version_without_marks_is_set_aside_and_rebuilt(
    log: SqliteLog, path: Path, outputs: list[Message]
) -> None:
    for message in outputs:
        append_message(log, message, topic=WINDOWS)
    with closing(DuckProjection.open(path, log)) as projection:
        everything(log, projection)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP TABLE marks; UPDATE meta SET version = 1")
    projector = Projector(log, path)
    projector.start()
    projector.stop(20.0)
    assert list(path.parent.glob("metrics.duckdb.damaged-*"))
    with closing(DuckProjection.open(path, log)) as projection:
        assert windows_of(projection) == WHOLE
        assert verify(log, hashes(projection)).equal


HEADERS = {"ce_id": "windows/0/7", "ce_source": "processor/windows", "previous": "5"}


def record(topic: str = WINDOWS, **headers: str) -> Record:
    named = {name.replace("__", "-"): value for name, value in headers.items()}
    return Record(topic, 0, 0, 0, {**HEADERS, **named}, b"")


@pytest.mark.parametrize(
    "other",
    [
        record(POINTS),
        record(ce_source="edge"),
        record(ce_source="processor/other"),
        record(ce_id="windows/0/"),
        record(ce_id="windows/0/-7"),
        record(ce_id="windows/0/7/8"),
        record(ce_id="windows/0/" + "9" * 19),
        record(ce_id=""),
        Record(WINDOWS, 0, 0, 0, {}, b""),
    ],
)
def test_other_headers_are_no_outputs(other: Record) -> None:
    assert output_of(other) is None


def test_an_output_says_its_maker_its_number_and_the_one_before() -> None:
    assert output_of(record()) == Output(MAKER, 7, 5)
    assert output_of(record(previous="none")) == Output(MAKER, 7, None)
    assert output_of(record(ce_id="windows/1/7")) == Output(("windows", 1), 7, 5)


@given(st.lists(st.sampled_from(["next", "elsewhere", "again", "lost"]), max_size=30), st.data())
def test_whatever_comes_again_each_output_counts_once_and_the_first_loss_is_told(
    fates: list[str], data: st.DataObject
) -> None:
    marks: dict[tuple[str, int], int] = {}
    told: list[Output] = []
    counted: list[int] = []
    number, previous = 0, None
    for fate in fates:
        if fate == "again" and told:
            output = data.draw(st.sampled_from(told))
            assert is_repeat(marks, output)
            continue
        output = Output(MAKER, number, previous)
        number += 1
        if fate == "elsewhere":
            continue
        previous = output.number
        if fate == "lost" and told:
            following = replace(output, number=number, previous=previous)
            assert not is_repeat(marks, following)
            assert "an output is missing" in missing_before(marks, following)
            return
        assert not is_repeat(marks, output)
        assert not missing_before(marks, output)
        marks[MAKER] = output.number
        told.append(output)
        counted.append(output.number)
    assert counted == sorted(set(counted))
