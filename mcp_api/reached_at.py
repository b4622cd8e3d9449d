"""At which address a request reached this server: links in its answer begin with that."""

from __future__ import annotations

from contextvars import ContextVar

from mcp_api.asgi import App, Receive, Scope, Send, header

_REACHED_AT: ContextVar[str] = ContextVar("reached_at", default="")


def reached_at() -> str:
    """Such as ``https://metrics.example.org``, by the name that the client knows; "" where nothing
    of a request is known."""
    return _REACHED_AT.get()


def with_address(app: App) -> App:
    """The application, inside which `reached_at` holds. The guard has judged ``Host`` before; of a
    proxy's headers only that it speaks TLS is believed."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        host = header(scope, b"host").strip()
        secure = header(scope, b"x-forwarded-proto").strip().lower() == "https"
        scheme = "https" if secure else scope.get("scheme", "http")
        _REACHED_AT.set(f"{scheme}://{host}" if host else "")
        await app(scope, receive, send)

    return answer
