"""The life of alerts as timetables: a value each ten seconds, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streams.domain import alert_states
from streams.domain.alert_memory import Alerts, Reading, due_ms, pack, unpack
from streams.domain.alert_states import Move
from streams.events.rules import Rule
from streams.promql.frames import Labels

EVERY_MS = 10_000
A: Labels = (("host", "a"),)
B: Labels = (("host", "b"),)
RULE = Rule(id="hot", version=1, name="Hot", condition="cpu > 80", severity="high")

Values = dict[Labels, float | None]


@dataclass
class Life:
    """A rule over time; ``told``: (second, series' host, before, after)."""

    rule: Rule
    alerts: Alerts = field(default_factory=Alerts)
    now_ms: int = 0
    told: list[tuple[int, str, str, str]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    def tick(self, values: Values, *, telling: bool = True) -> None:
        """80 is the condition's limit, 60 that of the clear condition."""
        self.now_ms += EVERY_MS
        here = {series: value for series, value in values.items() if value is not None}
        reading = Reading(
            active={series: value for series, value in here.items() if value > 80},
            present=lambda: here if telling else None,
            clear=lambda: [series for series, value in here.items() if value < 60],
        )
        self._take(alert_states.evaluated(self.rule, self.alerts, self.now_ms, reading, (7,)))

    def outage(self, ticks: int) -> None:
        gap_ms = ticks * EVERY_MS
        self.now_ms += gap_ms
        self._take(alert_states.outage(self.rule, self.alerts, self.now_ms, gap_ms))

    def run(self, *values: float | None) -> list[tuple[int, str, str, str]]:
        """Values of one series; what came of them."""
        before = len(self.told)
        for value in values:
            self.tick({A: value})
        return self.told[before:]

    def change(self, **changes: object) -> None:
        self.rule = msgspec.structs.replace(self.rule, version=self.rule.version + 1, **changes)

    def _take(self, changed: alert_states.Changed) -> None:
        self.alerts, moves = changed
        assert unpack(pack(self.alerts)) == self.alerts
        self.moves += moves
        for move in moves:
            host = move.alert.labels.get("host", move.alert.name)
            self.told.append((move.at_ms // 1000, host, move.before, move.after))


def life(**settings: object) -> Life:
    return Life(msgspec.structs.replace(RULE, **settings))


def test_without_for_it_fires_at_once_and_is_resolved_when_the_condition_is_false() -> None:
    hot = life()
    assert hot.run(70, 90, 95, 70, 70) == [
        (20, "a", "inactive", "firing"),
        (40, "a", "firing", "inactive"),
    ]
    assert [type(move).__name__ for move in hot.moves] == ["AlertFired", "AlertResolved"]


def test_for_asks_that_the_condition_holds_all_the_time() -> None:
    assert life(for_ms=30_000).run(90, 90, 90, 90, 90) == [
        (10, "a", "inactive", "pending"),
        (40, "a", "pending", "firing"),
    ]


def test_flapping_within_for_never_fires() -> None:
    hot = life(for_ms=30_000)
    assert hot.run(90, 90, 70, 90, 90, 70) == [
        (10, "a", "inactive", "pending"),
        (30, "a", "pending", "inactive"),
        (40, "a", "inactive", "pending"),
        (60, "a", "pending", "inactive"),
    ]
    assert type(hot.moves[1]).__name__ == "AlertCleared"


def test_keep_firing_for_bridges_a_gap_and_a_longer_one_resolves() -> None:
    assert life(keep_firing_for_ms=20_000).run(90, 70, 90, 70, 70, 70, 70) == [
        (10, "a", "inactive", "firing"),
        (20, "a", "firing", "recovering"),
        (30, "a", "recovering", "firing"),
        (40, "a", "firing", "recovering"),
        (60, "a", "recovering", "inactive"),
    ]


def test_hysteresis_keeps_an_alert_until_the_clear_condition_holds() -> None:
    assert life(clear_condition="cpu < 60").run(90, 70, 90, 75, 65, 55) == [
        (10, "a", "inactive", "firing"),
        (20, "a", "firing", "recovering"),
        (30, "a", "recovering", "firing"),
        (40, "a", "firing", "recovering"),
        (60, "a", "recovering", "inactive"),
    ]


def test_missing_data_never_resolves_and_no_span_goes_on() -> None:
    hot = life(for_ms=30_000)
    assert hot.run(90, 90, None, None, None, 90, 90, 90) == [
        (10, "a", "inactive", "pending"),
        (30, "a", "pending", "no_data"),
        (60, "a", "no_data", "pending"),
        (70, "a", "pending", "firing"),
    ]
    assert hot.run(None, None, 90, None, 70) == [
        (90, "a", "firing", "no_data"),
        (110, "a", "no_data", "firing"),
        (120, "a", "firing", "no_data"),
        (130, "a", "no_data", "inactive"),
    ]


def test_missing_data_while_recovering_freezes_what_it_is_kept_for() -> None:
    assert life(keep_firing_for_ms=30_000).run(90, 70, None, None, 70, 70, 70) == [
        (10, "a", "inactive", "firing"),
        (20, "a", "firing", "recovering"),
        (30, "a", "recovering", "no_data"),
        (50, "a", "no_data", "recovering"),
        (70, "a", "recovering", "inactive"),
    ]


def test_no_data_ok_takes_missing_data_for_a_condition_that_does_not_hold() -> None:
    hot = life(no_data="ok", clear_condition="cpu < 60")
    assert hot.run(90, None) == [
        (10, "a", "inactive", "firing"),
        (20, "a", "firing", "inactive"),
    ]
    assert "no data" in hot.moves[-1].reason


def test_no_data_alert_fires_for_series_that_had_data_and_for_no_data_at_all() -> None:
    hot = life(no_data="alert", for_ms=10_000)
    hot.tick({})
    hot.tick({})
    hot.tick({A: 70, B: 70})
    hot.tick({A: 70, B: None})
    hot.tick({A: 90, B: None})
    hot.tick({A: 70, B: 70})
    assert hot.told == [
        (10, "Hot", "inactive", "pending"),
        (20, "Hot", "pending", "firing"),
        (30, "Hot", "firing", "inactive"),
        (40, "b", "inactive", "pending"),
        (50, "b", "pending", "firing"),
        (50, "a", "inactive", "pending"),
        (60, "a", "pending", "inactive"),
        (60, "b", "firing", "inactive"),
    ]


def test_where_nobody_can_tell_an_alert_is_kept_whatever_the_policy() -> None:
    hot = life(no_data="ok")
    hot.tick({A: 90})
    hot.tick({A: 70}, telling=False)
    assert hot.told[-1] == (20, "a", "firing", "no_data")


def test_an_outage_makes_alerts_unknown_and_counts_in_no_span() -> None:
    hot = life(for_ms=40_000)
    hot.run(90, 90)
    hot.outage(10)
    assert hot.run(90, 90, 90, 90) == [
        (130, "a", "unknown", "pending"),
        (160, "a", "pending", "firing"),
    ]
    hot.outage(5)
    assert hot.run(70) == [(220, "a", "unknown", "inactive")]
    assert [move.before for move in hot.moves if move.after == "unknown"] == ["pending", "firing"]


def test_an_alert_without_data_after_an_outage_is_not_resolved() -> None:
    hot = life()
    hot.run(90)
    hot.outage(5)
    hot.outage(5)
    assert hot.run(None, 90) == [
        (120, "a", "unknown", "no_data"),
        (130, "a", "no_data", "firing"),
    ]


def test_a_changed_rule_keeps_alerts_whose_series_it_still_reads() -> None:
    hot = life(for_ms=10_000)
    hot.tick({A: 90, B: 90})
    hot.tick({A: 90, B: 90})
    hot.change(condition='cpu{host!="b"} > 80', severity="low")
    hot.tick({A: 90})
    assert hot.told[4:] == [(30, "b", "firing", "inactive")]
    hot.tick({A: 70})
    last = hot.moves[-1]
    assert (last.alert.version, last.alert.severity, last.after) == (2, "low", "inactive")


def test_a_change_of_words_keeps_an_alert_without_data() -> None:
    hot = life()
    hot.run(90, None)
    hot.change(description="other")
    assert hot.run(None, 90) == [(40, "a", "no_data", "firing")]


def test_a_disabled_rule_has_no_alerts() -> None:
    hot = life()
    hot.run(90)
    alerts, moves = alert_states.ended(hot.rule, hot.alerts, 20_000, "the rule was disabled")
    assert [(move.before, move.after) for move in moves] == [("firing", "inactive")]
    assert not alerts.kept


def test_more_series_than_the_rule_may_have_are_an_alert_of_their_own() -> None:
    hot = life(series_max=1)
    hot.tick({A: 90, B: 90})
    hot.tick({A: 90, B: 90})
    hot.tick({A: 70, B: 90})
    assert hot.told == [
        (10, "a", "inactive", "firing"),
        (10, "RuleSeriesExceeded", "inactive", "firing"),
        (30, "a", "firing", "inactive"),
        (30, "b", "inactive", "firing"),
        (30, "RuleSeriesExceeded", "firing", "inactive"),
    ]
    assert hot.moves[1].alert.labels == {"alertname": "RuleSeriesExceeded", "rule": "Hot"}


def test_a_recording_rule_is_alerted_of_for_too_many_series_only() -> None:
    hot = life(series_max=2, record="a:b")
    for count in (1, 3, 3, 2):
        hot.now_ms += EVERY_MS
        hot._take(alert_states.recorded(hot.rule, hot.alerts, hot.now_ms, count))
    assert [(at, after) for at, _, _, after in hot.told] == [(20, "firing"), (40, "inactive")]


def test_an_alert_has_labels_annotations_a_reason_and_what_was_seen() -> None:
    hot = life(
        labels={"team": "{{ $labels.host }}-team", "severity": "page"},
        annotations={"summary": "{{ $labels.host }} at {{ $value }}"},
    )
    hot.run(93.5, 12)
    fired, resolved = hot.moves
    assert fired.alert.labels == {
        "alertname": "Hot",
        "host": "a",
        "severity": "page",
        "team": "a-team",
    }
    assert fired.annotations == {"summary": "a at 93.5"}
    assert fired.seen == (7,)
    assert fired.reason == "value 93.5: `cpu > 80` holds"
    assert resolved.reason == "value 12: `cpu > 80` does not hold"
    assert resolved.alert.fingerprint == fired.alert.fingerprint
    assert resolved.alert.active_ms == 10_000


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([50, 70, 90, None]), st.sampled_from([50, 70, 90, None])),
        st.integers(3, 5),
    ),
    max_size=30,
)


@given(
    steps=STEPS,
    for_ms=st.sampled_from([0, 10_000, 25_000]),
    keep_ms=st.sampled_from([0, 20_000]),
    clear=st.sampled_from(["", "cpu < 60"]),
)
def test_each_alerts_transitions_follow_one_another(
    steps: Sequence[tuple[float | None, float | None] | int],
    for_ms: int,
    keep_ms: int,
    clear: str,
) -> None:
    hot = life(for_ms=for_ms, keep_firing_for_ms=keep_ms, clear_condition=clear)
    for step in steps:
        if isinstance(step, int):
            hot.outage(step)
        else:
            hot.tick({A: step[0], B: step[1]})
    for host in ("a", "b"):
        states = [(before, after) for _, of, before, after in hot.told if of == host]
        assert all(one[1] == other[0] for one, other in pairwise(states))
        assert all(before != after for before, after in states)
    due = due_ms(hot.rule, hot.alerts, hot.now_ms)
    assert due is None or due > hot.now_ms


@given(
    values=st.lists(st.sampled_from([50.0, 90.0]), min_size=1, max_size=30),
    for_ms=st.sampled_from([0, 20_000, 45_000]),
)
def test_ticks_at_which_nothing_changes_and_nothing_is_due_may_be_left_out(
    values: list[float], for_ms: int
) -> None:
    every, some = life(for_ms=for_ms), life(for_ms=for_ms)
    every.run(*values)
    last: float | None = None
    for value in values:
        due = due_ms(some.rule, some.alerts, some.now_ms)
        if value == last and (due is None or some.now_ms + EVERY_MS < due):
            some.now_ms += EVERY_MS
            continue
        some.tick({A: value})
        last = value
    assert some.told == every.told


def test_texts_that_are_too_large_for_an_event_are_cut() -> None:
    host = "\x01" * 4_000
    large = life(annotations={f"a{n}": "{{ $labels.host }}" * 2 for n in range(64)})
    large.tick({(("host", host),): 90})
    (fired,) = large.moves
    assert len(msgspec.json.encode(fired)) < 400_000
    assert fired.annotations["a0"].endswith("…")
