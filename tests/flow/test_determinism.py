"""State and events are the same bytes however a partition's records are cut into steps."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.events.topics import DEADLETTER
from streams.processors.windows import WindowsProcessor
from tests.effort import examples
from tests.flow.schedules import (
    PROCESSORS,
    History,
    Run,
    histories,
    run_in_steps,
    run_interrupted,
    told,
)
from tests.flow.window_model import same

SLOW = settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
CASES = PROCESSORS.flatmap(lambda processor: st.tuples(st.just(processor), histories(processor)))


def left(run: Run) -> tuple[dict[str, bytes], list[object]]:
    return run.table, [
        (e.topic, e.partition, e.message.headers, e.message.body) for e in run.entries
    ]


@SLOW
@given(case=CASES, seed=st.integers(0, 2**32))
def test_steps_of_one_of_sixty_four_all_at_once_and_interrupted_leave_the_same_bytes(
    case: tuple[WindowsProcessor, History], seed: int
) -> None:
    processor, history = case
    whole = left(run_in_steps(processor, history.records, max(1, len(history.records))))
    assert left(run_in_steps(processor, history.records, 1)) == whole
    assert left(run_in_steps(processor, history.records, 64)) == whole
    dice = random.Random(seed)
    for _ in range(3):
        assert left(run_interrupted(processor, history.records, dice)) == whole


@SLOW
@given(case=CASES)
def test_the_events_hold_the_rows_of_a_plain_loop_over_the_samples(
    case: tuple[WindowsProcessor, History],
) -> None:
    processor, history = case
    run = run_in_steps(processor, history.records, 7)
    rows, duplicates = told(run.entries)
    assert same(rows, history.model.told)
    assert duplicates == history.model.duplicates
    assert sum(entry.topic == DEADLETTER for entry in run.entries) == history.poison


@SLOW
@given(case=CASES)
def test_outputs_are_numbered_without_gaps(case: tuple[WindowsProcessor, History]) -> None:
    processor, history = case
    run = run_in_steps(processor, history.records, 3)
    ids = [entry.message.headers["ce_id"] for entry in run.entries]
    assert ids == [f"windows/0/{i}" for i in range(len(ids))]
    newest: dict[str, str] = {}
    for i, entry in enumerate(run.entries):
        assert entry.message.headers.get("previous") == newest.get(entry.topic)
        newest[entry.topic] = str(i)
