"""Getting a database file to go on from: the one that is there, another node's copy, or the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from projections.duck import DuckProjection
from projections.duck_file import MEMORY_LIMIT
from projections.live import POINTS_MAX
from projections.rebuild import (
    Progress,
    beside_path,
    install,
    rebuild_file,
    remove_leftovers,
    set_aside,
)
from projections.snapshot import HeldFile, check_snapshot, require_followable
from projections.source import SourceLog
from streams.errors import LogDamaged, ProjectionDamaged, ProjectionError

Fetch = Callable[[Path], object]
"""Writes a copy of another node's database into a new file; `ProjectionError` where none is to be
had."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenFile:
    """The projection, and the file that it has open."""

    projection: DuckProjection
    held: HeldFile

    def close(self) -> None:
        """No cursor may be in use; a copy under way breaks off."""
        self.held.end_copies()
        self.projection.close()
        self.held.close()


@dataclass(frozen=True, slots=True)
class Opening:
    """How the file at ``path`` is opened; ``fetch``: where a snapshot comes from."""

    path: Path
    log: SourceLog
    fetch: Fetch | None = None
    memory_limit: str = MEMORY_LIMIT
    live_points_max: int = POINTS_MAX

    def open(self) -> OpenFile:
        """The file as it is; an empty one where there is none. Errors as `DuckProjection.open`."""
        projection = DuckProjection.open(
            self.path,
            self.log,
            memory_limit=self.memory_limit,
            live_points_max=self.live_points_max,
        )
        try:
            return OpenFile(projection, HeldFile(self.path))
        except OSError as error:
            projection.close()
            raise ProjectionError(f"{self.path.name} cannot be opened: {error}") from error

    def open_or_replace(self, progress: Progress | None) -> OpenFile:
        """A file that the log continues. Where there is none, or one that is damaged or of another
        log (it is set aside), or that the log has left behind: a snapshot, if one is to be had,
        else the whole log is folded.

        `ProjectionError` where none of this can be done without gaps, or the file may be well but
        cannot be opened; it stays where it is then. `LogDamaged`.
        """
        if not self.path.exists():
            if self._fetched():
                install(self.path)
            else:
                self._require_whole_log()
            return self.open()
        try:
            file = self.open()
        except ProjectionDamaged as error:
            return self._replace_damaged(error, progress)
        try:
            require_followable(file.projection.positions(), self.log)
        except ProjectionError as error:
            file.close()
            return self._replace_left_behind(error)
        return file

    def _replace_damaged(self, error: ProjectionDamaged, progress: Progress | None) -> OpenFile:
        aside = set_aside(self.path)
        _log.warning("%s; it is set aside as %s and made anew", error, aside.name)
        if self._fetched():
            install(self.path)
            return self.open()
        self._require_whole_log()
        rebuilt = rebuild_file(self.path, self.log, progress, memory_limit=self.memory_limit)
        _log.warning(
            "%s is rebuilt: %d records, %d samples",
            self.path.name,
            rebuilt.records,
            rebuilt.points,
        )
        return self.open()

    def _replace_left_behind(self, error: ProjectionError) -> OpenFile:
        if not self._fetched():
            raise ProjectionError(f"{error}; {self._advice()}") from error
        aside = set_aside(self.path)
        _log.warning("%s; it is set aside as %s", error, aside.name)
        install(self.path)
        return self.open()

    def _fetched(self) -> bool:
        """Whether a snapshot of this log lies beside the path, ready to be installed."""
        if self.fetch is None:
            return False
        remove_leftovers(self.path)
        beside = beside_path(self.path)
        try:
            self.fetch(beside)
            positions = check_snapshot(beside, self.log)
        except LogDamaged:
            raise
        except ProjectionError as error:
            _log.warning("there is no snapshot to begin with: %s", error)
            remove_leftovers(self.path)
            return False
        _log.info("took a snapshot with %d records", sum(positions.values()))
        return True

    def _require_whole_log(self) -> None:
        """`ProjectionError` where a fold from the log's start would be incomplete."""
        begins = {place: start for place, start in self.log.starts().items() if start}
        try:
            require_followable(dict.fromkeys(begins, 0), self.log)
        except ProjectionError as error:
            raise ProjectionError(f"{error}; {self._advice()}") from error

    def _advice(self) -> str:
        return (
            "it would be incomplete, so it is not made: set SNAPSHOT_FROM to the URL of a running "
            f"node, or put a copy of a node's database (GET /admin/snapshot) at {self.path}"
        )
