"""A span for each HTTP request, around the guard: also of what it refuses."""

from __future__ import annotations

from typing import Final

from mcp_api.asgi import App, Message, Receive, Scope, Send, header
from streams import tracing

UNTRACED: Final = frozenset({"/health", "/ready", "/metrics", "/federate"})
"""What machines ask again and again would be most of all spans."""


def traced(app: App) -> App:
    """The application with spans, where somebody takes spans; else itself."""
    return _Traced(app) if tracing.on() else app


class _Traced:
    """The caller's ``traceparent`` is the parent."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method: str = scope["method"][:20]
        parent = header(scope, tracing.TRACEPARENT.encode())
        attributes = {"http.request.method": method, "url.path": scope["path"][:200]}
        with tracing.span(method, attributes, parent=parent, server=True) as span:
            try:
                await self._app(scope, receive, noting)
            finally:
                route = scope.get("route", "")
                span.rename(f"{method} {route}".rstrip())
                span.put({"http.route": route, "http.response.status_code": status})
                if status >= 500 or not status:
                    span.fail(f"answered {status}" if status else "not answered")
