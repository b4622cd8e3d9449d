"""The newest answer of an expression, and what changed in it since any that somebody has. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mcp_api.live_feed.messages import change_tails, snapshot_tails

GONE_VERSIONS_MAX = 64
"""For so many answers it is known which series are gone; who has an older one gets a snapshot."""


class SeriesState:
    """Series by their labels, each with its value, both as JSON."""

    def __init__(self) -> None:
        self.version = 0
        """Of the newest answer that differed from the one before; 0: none yet."""
        self._last = ""
        self._values: dict[str, tuple[str, int]] = {}
        self._gone: dict[str, int] = {}
        self._tails: dict[int, list[str]] = {}

    def absorb(self, answer: Mapping[str, str], last: str) -> bool:
        """Takes an answer; whether it differs from the one before. ``last``: members of the
        messages about it, e.g. its time."""
        before, version = self._values, self.version + 1
        after = {
            labels: held
            if (held := before.get(labels)) is not None and held[0] == value
            else (value, version)
            for labels, value in answer.items()
        }
        gone = before.keys() - after.keys()
        changed = gone or any(since == version for _, since in after.values())
        if self.version and not changed:
            return False
        self._values, self.version, self._last, self._tails = after, version, last, {}
        self._gone |= dict.fromkeys(gone, version)
        oldest = version - GONE_VERSIONS_MAX
        self._gone = {
            labels: since
            for labels, since in self._gone.items()
            if since > oldest and labels not in after
        }
        return True

    def tails(self, have: int) -> list[str]:
        """The messages, without heads, for who has the answer of version ``have`` (0: none): all
        of it, or what changed since. They are made once for all who ask for the same."""
        if have not in self._tails:
            make = snapshot_tails if self._must_begin_anew(have) else change_tails
            self._tails[have] = make("series", self._items(have), self._last)
        return self._tails[have]

    def _must_begin_anew(self, have: int) -> bool:
        return have == 0 or have < self.version - GONE_VERSIONS_MAX

    def _items(self, have: int) -> Iterator[str]:
        """A series that is gone has the value null."""
        anew = self._must_begin_anew(have)
        for labels, (value, since) in self._values.items():
            if anew or since > have:
                yield f'{{"labels":{labels},"value":{value}}}'
        if not anew:
            for labels, since in self._gone.items():
                if since > have:
                    yield f'{{"labels":{labels},"value":null}}'
