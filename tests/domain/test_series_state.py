"""What changed in an expression's answer: whoever applies it has the newest answer."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_api.live_feed.series_state import GONE_VERSIONS_MAX, SeriesState
from tests.effort import examples

ANSWERS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2), max_size=6),
        st.sets(st.integers(0, 3)),
    ),
    min_size=1,
    max_size=30,
)


class Client:
    """Applies what it is told, whenever it has room."""

    def __init__(self) -> None:
        self.have = 0
        self.known: dict[str, int] = {}
        self.told = 0

    def read(self, state: SeriesState) -> None:
        if self.have == state.version:
            return
        for tail in state.tails(self.have):
            message = json.loads("{" + tail)
            if message["type"] == "snapshot":
                self.known = {}
            for series in message["series"]:
                self.told += 1
                if series["value"] is None:
                    self.known.pop(series["labels"]["n"], None)
                else:
                    self.known[series["labels"]["n"]] = series["value"]
        self.have = state.version


def absorb(state: SeriesState, answer: dict[str, int]) -> bool:
    texts = {json.dumps({"n": name}): str(value) for name, value in answer.items()}
    return state.absorb(texts, '"at":"now"')


@settings(max_examples=examples(100))
@given(ANSWERS)
def test_whoever_reads_now_and_then_has_the_newest_answer(
    answers: list[tuple[dict[str, int], set[int]]],
) -> None:
    state, clients = SeriesState(), [Client() for _ in range(4)]
    before: dict[str, int] | None = None
    for answer, reading in answers:
        assert absorb(state, answer) == (answer != before)
        before = answer
        for number in reading:
            clients[number].read(state)
            assert clients[number].known == answer


def test_only_what_changed_is_told() -> None:
    state, client = SeriesState(), Client()
    absorb(state, dict.fromkeys("abcdef", 1))
    client.read(state)
    absorb(state, {**dict.fromkeys("abcdef", 1), "b": 2})
    client.read(state)
    assert client.told == 7


def test_what_is_gone_is_known_for_a_while_and_then_there_is_a_snapshot() -> None:
    state, late, later = SeriesState(), Client(), Client()
    absorb(state, {"a": 1, "b": 0})
    late.read(state)
    later.read(state)
    for value in range(1, GONE_VERSIONS_MAX + 1):
        absorb(state, {"b": value})
    assert '"type":"change"' in state.tails(late.have)[0]
    late.read(state)
    absorb(state, {"b": 0})
    assert '"type":"snapshot"' in state.tails(later.have)[0]
    later.read(state)
    assert (late.known, later.known) == ({"b": GONE_VERSIONS_MAX}, {"b": 0})
