"""Firings that would have been against those that were, as their spans say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from projections.backtest_report import Firing
from projections.backtest_tally import difference

END_MS = 40

times = st.lists(st.integers(0, END_MS), unique=True, max_size=12).map(sorted)


@st.composite
def firings(draw: st.DrawFn) -> list[Firing]:
    """Of two alerts, each from one time to the next; the last may still fire."""
    found = []
    for alert in ("a", "b"):
        at_ms = draw(times)
        found += [
            Firing(alert, {}, begin, end) for n, (begin, end) in enumerate(pairwise(at_ms)) if n % 2
        ]
        if len(at_ms) % 2:
            found.append(Firing(alert, {}, END_MS + 1 if not at_ms else at_ms[-1], None))
    return sorted(found, key=lambda firing: (firing.fired_ms, firing.fingerprint))


def overlapping(one: Firing, other: Firing) -> bool:
    one_end = END_MS if one.ended_ms is None else one.ended_ms
    other_end = END_MS if other.ended_ms is None else other.ended_ms
    return (
        one.fingerprint == other.fingerprint
        and one.fired_ms <= other_end
        and other.fired_ms <= one_end
    )


def alone(firings: Sequence[Firing], others: Sequence[Firing]) -> tuple[Firing, ...]:
    return tuple(one for one in firings if not any(overlapping(one, each) for each in others))


@given(firings(), firings())
def test_firings_of_an_alert_that_overlap_are_the_same(
    would: list[Firing], did: list[Firing]
) -> None:
    found = difference(would, did, END_MS)
    assert found.only_now == alone(would, did)
    assert found.only_then == alone(did, would)
    assert (found.happened, found.same) == (len(did), len(would) - len(found.only_now))


@given(firings(), firings(), st.integers(0, END_MS))
def test_what_began_after_the_end_of_the_comparison_is_left_out(
    would: list[Firing], did: list[Firing], until_ms: int
) -> None:
    found = difference(would, did, until_ms)
    assert found.happened == sum(one.fired_ms <= until_ms for one in did)
    told = (*found.only_now, *found.only_then)
    assert all(one.fired_ms <= until_ms for one in told)
