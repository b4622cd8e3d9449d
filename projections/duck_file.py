"""Opening the DuckDB file: its settings, its tables, and loading its rows into memory."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from projections.fold import Reached
from projections.schema import TABLES, VERSION, VIEWS
from projections.series import NewSeries, SeriesTable
from projections.source import Partition
from streams.errors import ProjectionDamaged, ProjectionError
from streams.events.batch import STALE, Floats, Index, Ints
from streams.processors.outputs import Maker

MEMORY_LIMIT = "384MB"
"""DuckDB's own; what does not fit is spilled beside the file."""

WAL_CHECKPOINT = "64MB"
"""How large the write-ahead log may become before it is moved into the file."""

_NOT_DAMAGE = ("Could not set lock", "Permission denied", "No such file", "No space left")
"""In DuckDB's messages (it has one class for them all): the file itself may be well."""

_SQLITE = b"SQLite format 3\x00"

_log = logging.getLogger(__name__)


def open_file(path: Path, log_id: str, memory_limit: str) -> Any:
    """A connection to the file, made with its tables where there is none.

    Raises `ProjectionDamaged`: unreadable, another schema version, another log's; plain
    `ProjectionError` where the file may be well: another process has it, the disk is full, it is
    somebody else's (then it stays as it is).
    """
    try:
        connection = duckdb.connect(str(path), config=_config(memory_limit))
    except duckdb.Error as error:
        if any(sign in str(error) for sign in _NOT_DAMAGE):
            raise ProjectionError(f"{path.name} cannot be opened: {error}") from error
        raise ProjectionDamaged(f"{path.name} cannot be opened: {error}") from error
    try:
        _refuse_foreign(connection, path)
        _prepare(connection, path, log_id)
    except duckdb.Error as error:
        connection.close()
        raise ProjectionDamaged(f"{path.name} cannot be read: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_sqlite(path: Path) -> None:
    """`ProjectionError` where there is a SQLite file: the log, or somebody's; no read model."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(_SQLITE))
    except FileNotFoundError:
        return
    if begin == _SQLITE:
        raise ProjectionError(
            f"{path} is a SQLite file, maybe the log itself, and not this program's DuckDB file; "
            "it is left as it is: give the log another name with LOGFIRE_DB_PATH"
        )


def refuse_others(path: Path) -> None:
    """`ProjectionError` where there is a file that holds something else; one that cannot be read
    may be replaced. For a path that this process does not have open."""
    refuse_sqlite(path)
    if not path.exists():
        return
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            _refuse_foreign(connection, path)
    except duckdb.Error as error:
        _log.warning("%s cannot be read: %s", path.name, error)


def make_log_private(path: Path) -> None:
    """Keeps others from reading the write-ahead log, which DuckDB makes anew now and then."""
    with contextlib.suppress(OSError):  # not there, or a file system without modes: told of `path`
        path.with_name(path.name + ".wal").chmod(0o600)


def load_reached(connection: Any) -> dict[Partition, Reached]:
    """The stored positions."""
    rows = connection.execute(
        'SELECT topic, "partition", next_offset, checksum, appended_ms FROM positions'
    ).fetchall()
    return {(topic, number): Reached(*rest) for topic, number, *rest in rows}


def load_marks(connection: Any) -> dict[Maker, int]:
    """The number of the newest output absorbed of each processor and partition."""
    rows = connection.execute('SELECT processor, "partition", out_seq FROM marks').fetchall()
    return {(name, partition): out_seq for name, partition, out_seq in rows}


def load_series(connection: Any) -> SeriesTable:
    """The series with their newest samples."""
    known = SeriesTable()
    rows = connection.sql(
        "SELECT text, name, type, unit FROM series ORDER BY series_id"
    ).to_arrow_table()
    columns = (rows.column(i).to_pylist() for i in range(4))
    known.add(
        NewSeries(text, name, {}, metric_type, unit)
        for text, name, metric_type, unit in zip(*columns, strict=True)
    )
    rows = connection.sql(
        "SELECT series_id, at_ms, value FROM latest WHERE at_ms IS NOT NULL"
    ).to_arrow_table()
    known.set_latest(*point_columns(rows))
    return known


def load_since(connection: Any, start_ms: int, most: int) -> tuple[Index, Ints, Floats]:
    """The newest samples not older than ``start_ms``, at most ``most``, oldest first."""
    rows = connection.sql(
        "SELECT series_id, at_ms, value FROM points WHERE at_ms >= $start "
        "ORDER BY at_ms DESC LIMIT $most",
        params={"start": start_ms, "most": most},
    ).to_arrow_table()
    series, at_ms, value = point_columns(rows)
    return series[::-1], at_ms[::-1], value[::-1]


def point_columns(rows: Any) -> tuple[Index, Ints, Floats]:
    """``series_id, at_ms, value`` as numpy; a NULL value is the staleness marker again."""
    value = rows.column("value")
    floats: Floats = value.to_numpy(zero_copy_only=False)
    if value.null_count:
        floats = np.where(value.is_null().to_numpy(zero_copy_only=False), STALE, floats)
    return rows.column("series_id").to_numpy(), rows.column("at_ms").to_numpy(), floats


def _config(memory_limit: str) -> dict[str, Any]:
    return {
        "threads": "2",
        "memory_limit": memory_limit,
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "wal_autocheckpoint": WAL_CHECKPOINT,
    }


def _refuse_foreign(connection: Any, path: Path) -> None:
    """`ProjectionError` where there are tables, but no ``meta`` as this program makes it."""
    if not _tables(connection) or {"version", "log_id"} <= _meta_columns(connection):
        return
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")  # closing it changes nothing
    raise ProjectionError(
        f"{path} is a DuckDB file that this program did not make; it is left as it is: move it "
        "away, or give the log another name with LOGFIRE_DB_PATH"
    )


def _tables(connection: Any) -> int:
    """How many tables and views there are."""
    return int(
        connection.execute(
            "SELECT (SELECT count(*) FROM duckdb_tables() WHERE NOT internal) + "
            "(SELECT count(*) FROM duckdb_views() WHERE NOT internal)"
        ).fetchone()[0]
    )


def _meta_columns(connection: Any) -> set[str]:
    rows = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = 'meta' AND "
        "schema_name = 'main' AND NOT internal"
    ).fetchall()
    return {name for (name,) in rows}


def _prepare(connection: Any, path: Path, log_id: str) -> None:
    """Makes the tables of an empty file; `ProjectionDamaged` for another version or log."""
    if not _tables(connection):
        try:
            path.chmod(0o600)  # nothing is in it yet
        except OSError as error:
            _log.warning("others may be able to read %s: %s", path, error)
        connection.begin()
        for statement in (*TABLES, *VIEWS):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ($1, $2)", [VERSION, log_id])
        connection.commit()
        make_log_private(path)
    row = connection.execute("SELECT version, log_id FROM meta").fetchone()
    version, stored = row or (None, None)
    if version != VERSION:
        raise ProjectionDamaged(f"its schema has version {version}; this program writes {VERSION}")
    if stored != log_id:
        raise ProjectionDamaged(f"it belongs to log {stored}, not to {log_id}")
