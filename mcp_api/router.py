"""Which handler answers which path: a table, looked up once a request.

No framework: there are few routes, none with parameters, and a look-up costs a tenth of what the
usual router does on the way of every measurement.
"""

from __future__ import annotations

from collections.abc import Mapping

from mcp_api.asgi import App, Receive, Refusal, Scope, Send, send_refusal

Routes = Mapping[str, Mapping[str, App]]
"""Path to method to handler; HEAD is answered by GET's. ``/*`` ends a path for all below it."""


class Router:
    """Unknown paths are 404 with the list of routes, other methods 405 with ``Allow``.

    ``scope["route"]`` is the path that matched, or what ends in ``/*``.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._below = [path for path in routes if path.endswith("/*")]
        self._listed = ", ".join(
            f"{method} {path}" for path, methods in routes.items() for method in methods
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        route = path.rstrip("/") or "/"
        if route not in self._routes:
            route = next((r for r in self._below if path.startswith(r[:-1])), route)
        methods = self._routes.get(route)
        if methods is None:
            message = f"There is no {path[:200]!r} here; there are: {self._listed}."
            await send_refusal(send, Refusal(404, message))
            return
        scope["route"] = route
        method: str = scope["method"]
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
            message = f"{method[:20]} is not a method of {path[:200]}; it takes {allowed}."
            headers = ((b"allow", allowed.encode()),)
            await send_refusal(send, Refusal(405, message, headers=headers))
            return
        await handler(scope, receive, send)
