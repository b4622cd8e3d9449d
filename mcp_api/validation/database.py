"""The read model: is it the fold of the log? By hashes of both, at the same positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from mcp_api.data_dir import projection_path
from mcp_api.discovery import Found
from mcp_api.projection_commands import stored_hashes
from mcp_api.validation.event_log import is_owned
from mcp_api.validation.outcome import Check, Outcome, Tell, failed, look, ok, skipped
from projections.rebuild import Rebuilt
from projections.verify import verify
from streams.config import Settings
from streams.log.opening import open_log_to_read

PART = "database"


def check_database(settings: Settings, found: Found | None, tell: Tell) -> Iterator[Check]:
    """Through the running server, else on the file itself."""
    yield look(PART, "equals the log", lambda: _equal(settings, found, tell))


def _equal(settings: Settings, found: Found | None, tell: Tell) -> Outcome:
    path = projection_path(settings)
    if found is None and not path.exists():
        return skipped(f"there is none yet at {path}: `serve` makes it")
    if found is None and is_owned(settings):
        return skipped("a process that serves no HTTP has it open")

    def told(folded: Rebuilt) -> None:
        tell(f"Folding the log: {folded.records:,} of {folded.records_total:,} records")

    stored = stored_hashes(settings)
    with closing(open_log_to_read(settings)) as log:
        if any(start for place, start in log.starts().items() if place in stored.positions):
            return skipped("the log no longer holds its beginning: it cannot be folded again")
        report = verify(log, stored, told)
    if not report.equal:
        todo = "stop the writers and run `logfire-mcp-server rebuild`"
        return failed("; ".join(report.differences), todo)
    rows = {name: table.rows for name, table in stored.tables.items()}
    text = (
        f"equal: {rows['points']:,} points, {rows['windows']:,} windows, {rows['series']:,} series"
    )
    return ok(text, rows=rows)
