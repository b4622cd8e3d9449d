"""Whether the read models are up to date: what ``/ready`` and ``serve`` tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streams.errors import LogError, ProjectionError

if TYPE_CHECKING:
    from mcp_api.log_watch import LogWatch
    from projections.projector import Projector
    from projections.rebuild import Rebuilt
    from streams.log.opening import ServerLog
    from streams.runners.runner import Runner

STALLED_S = 15.0
"""Behind for that long without a step forward. A step takes a second at most."""


TICK_AHEAD_S = 15.0
"""A clock that was set back by less is not worth a word."""


class Readiness:
    """Caught up means: up to where the log ended at the start. Later lag is no reason by itself.

    ``runner`` None: the processors run elsewhere. ``fetching``: what is done to get a snapshot, ""
    for nothing. ``watch`` None: a log that needs none. ``standing_still``: what else is to go on
    and does not, one sentence each.
    """

    def __init__(
        self,
        log: ServerLog,
        runner: Runner | None,
        projector: Projector,
        projector_start: asyncio.Task[None],
        rebuilding: Callable[[], Rebuilt | None],
        *,
        fetching: Callable[[], str] = str,
        watch: LogWatch | None = None,
        standing_still: Callable[[], list[str]] = list,
    ) -> None:
        self._log = log
        self._runner = runner
        self._projector = projector
        self._projector_start = projector_start
        self._rebuilding = rebuilding
        self._fetching = fetching
        self._watch = watch
        self._standing_still = standing_still
        self._ends_at_start = dict(log.ends())
        self._runner_caught_up = False
        self._projector_caught_up = False

    def reasons(self) -> list[str]:
        """One sentence each; empty if all is well."""
        if self._watch is not None and (unreachable := self._watch.unreachable()):
            return [unreachable]
        return [*self._runner_reasons(), *self._projector_reasons(), *self._standing_still()]

    def _runner_reasons(self) -> list[str]:
        if self._runner is None:
            return []
        failure = self._runner.failure()
        if failure is not None:
            return [f"the processors stopped: {failure}; restart the server"]
        stalled_s = self._runner.stalled_for_s()
        if stalled_s > STALLED_S:
            return [f"the processors have made no progress for {stalled_s:.0f} s"]
        ahead_s = self._runner.tick_ahead_s()
        if ahead_s > TICK_AHEAD_S:
            return [
                f"the newest tick is {ahead_s:,.0f} s ahead of the clock, which was set back: no "
                "window closes until it has caught up"
            ]
        if not self._runner_caught_up:
            behind = sum(self._runner.lag().values())
            since = sum(self._log.ends().values()) - sum(self._ends_at_start.values())
            self._runner_caught_up = behind <= since
            if not self._runner_caught_up:
                return [f"the processors are {behind - since} records behind"]
        return []

    def _projector_reasons(self) -> list[str]:
        if not self._projector_start.done():
            rebuilt = self._rebuilding()
            if rebuilt is None and (fetching := self._fetching()):
                return [fetching]
            if rebuilt is None:
                return ["the database is being opened"]
            return [
                f"the database is being rebuilt from the log: {rebuilt.records:,} of "
                f"{rebuilt.records_total:,} records"
            ]
        failure = self._projector_start.exception() or self._projector.failure()
        if isinstance(failure, LogError):
            return [f"the log cannot be read: {failure}"]
        if failure is not None:
            return [f"the database cannot be written: {failure}"]
        stalled_s = self._projector.stalled_for_s()
        if stalled_s > STALLED_S:
            return [f"the database has made no progress for {stalled_s:.0f} s"]
        if not self._projector_caught_up:
            behind = self._behind(self._positions())
            self._projector_caught_up = not behind
            if behind:
                return [f"the database is {behind} records behind"]
        return []

    def _positions(self) -> Mapping[tuple[str, int], int]:
        try:
            return self._projector.positions()
        except ProjectionError:
            return {}  # it is being switched

    def _behind(self, positions: Mapping[tuple[str, int], int]) -> int:
        """Records of the time before the start that are not projected; other topics are not."""
        if not positions:
            return sum(self._ends_at_start.values())
        ends = self._log.ends()  # one may turn out to be lower, where its last offsets hold nothing
        return sum(
            max(0, min(self._ends_at_start[place], ends[place]) - offset)
            for place, offset in positions.items()
        )
