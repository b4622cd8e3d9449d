"""What went wrong, as both transports tell it: a JSON body, and an HTTP status with headers."""

from __future__ import annotations

from typing import Any

from streams.errors import (
    InputError,
    LogError,
    LogfireMcpError,
    Overloaded,
    ProjectionError,
    QueryTooExpensive,
)

RETRY_UNAVAILABLE_S = 5


def error_content(exc: BaseException) -> dict[str, Any]:
    """``{"error": {"message", "field"?, "retry_after_s"?}}``.

    The message of an error that is not ours is not told: it may quote what is nobody's business.
    """
    if not isinstance(exc, LogfireMcpError):
        return {"error": {"message": "internal error; the server's log has the details"}}
    error: dict[str, Any] = {"message": str(exc)}
    if isinstance(exc, InputError) and exc.field:
        error["field"] = exc.field
    retry_after_s = _retry_after_s(exc)
    if retry_after_s is not None:
        error["retry_after_s"] = retry_after_s
    return {"error": error}


def http_status(exc: BaseException) -> tuple[int, dict[str, str]]:
    """The status, and ``Retry-After`` where the same request may succeed later."""
    retry_after_s = _retry_after_s(exc)
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    match exc:
        case InputError():
            return exc.status, headers
        case Overloaded():
            return exc.status, headers
        case QueryTooExpensive():
            return 422, headers
        case LogError() | ProjectionError():
            return 503, headers
        case _:
            return 500, headers


def _retry_after_s(exc: BaseException) -> int | None:
    match exc:
        case Overloaded():
            return exc.retry_after_s
        case QueryTooExpensive():
            return None
        case LogError() | ProjectionError():
            return RETRY_UNAVAILABLE_S
        case _:
            return None
