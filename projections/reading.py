"""Readers of the file: each in a snapshot of its own, bounded in time, off the writer's way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb

from projections.duck import DuckProjection
from projections.series import SeriesTable
from streams.errors import ProjectionError, QueryTooExpensive

Params = Mapping[str, object]


class _Deadline:
    """Interrupts a connection after a time; also between its statements, where DuckDB would not."""

    def __init__(self, connection: Any, timeout_s: float) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._over = False
        self._expired = False
        self._timer = threading.Timer(timeout_s, self.expire)
        self._timer.daemon = True
        self._timer.start()

    @property
    def expired(self) -> bool:
        return self._expired

    def check(self) -> None:
        if self._expired:
            raise duckdb.InterruptException("the time is over")

    def end(self) -> None:
        """Afterwards the connection is not touched any more."""
        self._timer.cancel()
        with self._lock:
            self._over = True

    def expire(self) -> None:
        with self._lock:
            self._expired = True
            if not self._over:
                self._connection.interrupt()


class Reader:
    """One snapshot: everything asked of it sees the same transactions.

    ``series`` may differ from it by the transaction that commits at the same moment: ids in it
    that the snapshot lacks have no rows there, and rows of ids that it lacks are not selected.
    """

    def __init__(self, connection: Any, series: SeriesTable, deadline: _Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self.series = series

    @property
    def expired(self) -> bool:
        """Whether the time is over: what is asked from now on is refused."""
        return self._deadline.expired

    def expire(self) -> None:
        """The time is over now; from any thread."""
        self._deadline.expire()

    def table(self, sql: str, params: Params | None = None, **given: Any) -> Any:
        """The result as an Arrow table; ``given`` Arrow tables are visible under their names."""
        self._deadline.check()
        for name, rows in given.items():
            self._connection.register(name, rows)
        result = self._connection.sql(sql, params=dict(params or {})).to_arrow_table()
        for name in given:
            self._connection.unregister(name)
        self._deadline.check()
        return result

    def rows(self, sql: str, params: Params | None = None, **given: Any) -> list[dict[str, Any]]:
        """The result as plain rows; for small answers."""
        rows: list[dict[str, Any]] = self.table(sql, params, **given).to_pylist()
        return rows

    def batches(self, sql: str, rows: int) -> Iterator[Any]:
        """The result in Arrow record batches of about ``rows``; ask nothing else meanwhile."""
        self._deadline.check()
        yield from self._connection.sql(sql).to_arrow_reader(rows)


class Ending:
    """Lets whoever asked end what another thread reads for him."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self.ended = False

    def end(self) -> None:
        """Ends what is read, and what would be read later; from any thread, any number of times."""
        with self._lock:
            self.ended = True
            if self._reader is not None:
                self._reader.expire()

    @contextmanager
    def ends(self, reader: Reader) -> Iterator[None]:
        """For the length of the block `end` is the end of this reader's time."""
        with self._lock:
            self._reader = reader
            if self.ended:
                reader.expire()
        try:
            yield
        finally:
            with self._lock:
                self._reader = None


@contextmanager
def reading(projection: DuckProjection, timeout_s: float) -> Iterator[Reader]:
    """A `Reader` for the length of the block.

    Raises `QueryTooExpensive` when the block's queries run over ``timeout_s`` or DuckDB's memory
    limit, `ProjectionError` where the file cannot be read.
    """
    try:
        connection = projection.cursor()
    except duckdb.Error as error:  # it could not be opened again after a failure
        raise ProjectionError(f"the projection is closed: {error}") from error
    deadline = _Deadline(connection, timeout_s)
    try:
        connection.begin()
        connection.execute("FROM meta").fetchall()  # the snapshot is taken by the first statement
        yield Reader(connection, projection.series, deadline)
    except duckdb.InterruptException as error:
        raise QueryTooExpensive(
            f"the query took longer than {timeout_s:g} s: ask for a shorter range, fewer series or "
            "larger steps"
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise QueryTooExpensive(
            "the query needs more memory than it may use: ask for a shorter range or fewer series"
        ) from error
    except duckdb.Error as error:
        raise ProjectionError(f"the projection could not be read: {error}") from error
    finally:
        deadline.end()
        connection.close()


class ReadGate:
    """Lets readers in, and keeps them out while the file is switched."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Waits while the file is being switched."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def switching(self) -> Iterator[None]:
        """Waits until those inside are out (each is bounded in time); nobody enters meanwhile.

        DuckDB needs this: in one process it hands an open instance of the same path to whoever
        opens the path again, and an instance that closes late removes the path's write-ahead log,
        which would then be the new file's.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._closed = True
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
