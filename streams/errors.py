"""Every exception of the project; each message says what was got, what is valid, and what to do.

::

    LogfireMcpError
    ├── ConfigError            a setting is wrong; the message names the variable
    ├── InputError             a caller sent something that cannot be taken (HTTP 4xx)
    │   ├── RequestConflict    an idempotency key was used again for another request (409)
    │   ├── TooLarge           over a stated limit (413)
    │   └── QueryError         an expression that cannot be evaluated (422)
    │       ├── QuerySyntaxError   it is not PromQL, or not supported (400)
    │       ├── QueryTooLarge      it costs more than a stated limit (422)
    │       │   └── TooLargeAtOnce     fewer of its steps at once may be affordable
    │       └── QueryCancelled     whoever asked no longer waits (503)
    ├── Overloaded             not now; carries ``retry_after_s`` (HTTP 429 or 503)
    │   └── NotCaughtUp        a read asked for a position that is not projected yet
    ├── LogError
    │   ├── LogLocked          another server owns this data directory
    │   ├── LogDamaged         the log is damaged before its end: nothing is served from it
    │   ├── LogUnavailable     the disk refused a write; nothing was acknowledged
    │   └── OffsetOutOfRange   a position before the log's start or after its end
    ├── PoisonError            a record that cannot be decoded; it goes to ``deadletter``
    ├── SinkError              a database that the log is copied to is away; tried again
    └── ProjectionError
        ├── ProjectionDamaged  the DuckDB file is unreadable or does not belong to this log
        └── QueryTooExpensive  a query over its row, time or memory limit
"""

from __future__ import annotations


class LogfireMcpError(Exception):
    """The root: catching it catches everything that this project raises on purpose."""


class ConfigError(LogfireMcpError):
    """A setting is wrong; the message names the variable, the value and what is valid."""


class InputError(LogfireMcpError):
    """The input cannot be taken: one sentence with the field, what was got, what is valid."""

    status = 400

    def __init__(self, message: str, *, field: str = "") -> None:
        """``field``: the argument that is wrong, where it is one; clients mark it."""
        super().__init__(message)
        self.field = field


class RequestConflict(InputError):
    """An idempotency key came again with another body: neither is guessed to be meant."""

    status = 409


class TooLarge(InputError):
    """Over a stated limit; the message names the limit."""

    status = 413


class QueryError(InputError):
    """A query that cannot be answered, for what it meets in the data.

    ``kind`` is Prometheus' ``errorType`` (https://prometheus.io/docs/prometheus/latest/querying/api/).
    """

    kind = "execution"
    status = 422


class QuerySyntaxError(QueryError):
    """An expression that is no PromQL, has wrong types, or uses what is not supported."""

    kind = "bad_data"
    status = 400


class QueryTooLarge(QueryError):
    """A query over one of its counted limits; the message says which and how to ask for less."""


class TooLargeAtOnce(QueryTooLarge):
    """It would hold too much at once; fewer of its steps at once may be affordable."""


class QueryCancelled(QueryError):
    """The query was given up on request; nothing of its result is kept."""

    kind = "canceled"
    status = 503


class QueryTimeout(QueryError):
    """The query took longer than it may; nothing of its result is kept."""

    kind = "timeout"
    status = 503


class Overloaded(LogfireMcpError):
    """Nothing was taken; the same request may be sent again after ``retry_after_s`` seconds."""

    def __init__(self, message: str, *, status: int = 429, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class NotCaughtUp(Overloaded):
    """The projection did not reach ``min_position`` in time."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=503)


class LogError(LogfireMcpError):
    """The event log could not do what was asked."""


class LogLocked(LogError):
    """A second server was started on one data directory."""


class LogDamaged(LogError):
    """Damage before the end of the log; the message says where and how to go on."""


class LogUnavailable(LogError):
    """The log could not be written (disk full, I/O error); nothing of the unit is durable."""


class OffsetOutOfRange(LogError):
    """The offset asked for is not in the log."""


class PoisonError(LogfireMcpError):
    """A record's bytes are not the event that its headers announce."""


class SinkError(LogfireMcpError):
    """What the log is copied to did not take it; the same is tried again after ``retry_after_s``
    seconds at the earliest. The message never holds a secret."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ProjectionError(LogfireMcpError):
    """A read model could not be read or written."""


class ProjectionDamaged(ProjectionError):
    """The read model's file is unreadable or ahead of the log; it is set aside and rebuilt."""


class QueryTooExpensive(ProjectionError):
    """A query went over one of its limits; the message says which and how to ask for less."""
