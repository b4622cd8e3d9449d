"""Grafana's HTTP API, as far as setting it up takes: a data source, a dashboard, a test of both.

https://grafana.com/docs/grafana/latest/developer-resources/api-reference/http-api/ (data source,
dashboard). All of it may be done again: what is there is replaced.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from types import TracebackType
from typing import Any, Self

import httpx

from streams.errors import LogfireMcpError

DATA_SOURCE = "Logfire MCP"
DATA_SOURCE_UID = "logfire-mcp"
"""By which the dashboard finds its data source."""

ANSWER_S = 30.0
SCRAPE_INTERVAL = "30s"
"""Of this machine's measurements: Grafana takes rates over four of them at least."""


def dashboard() -> dict[str, Any]:
    """ "MCP Ecosystem Monitoring", as Grafana imports it."""
    text = (files("mcp_api") / "dashboards" / "mcp-ecosystem.json").read_text("utf-8")
    board: dict[str, Any] = json.loads(text)
    return board


@dataclass(frozen=True, slots=True)
class Source:
    """Where Grafana finds this server: a URL as its machine sees it; the token, if one is set."""

    url: str
    token: str | None = None

    def content(self) -> dict[str, Any]:
        """As the API takes it; the token goes where Grafana keeps secrets."""
        options: dict[str, Any] = {"httpMethod": "POST", "timeInterval": SCRAPE_INTERVAL}
        hidden: dict[str, str] = {}
        if self.token is not None:
            options["httpHeaderName1"] = "Authorization"
            hidden["httpHeaderValue1"] = f"Bearer {self.token}"
        return {
            "uid": DATA_SOURCE_UID,
            "name": DATA_SOURCE,
            "type": "prometheus",
            "access": "proxy",
            "url": self.url,
            "jsonData": options,
            "secureJsonData": hidden,
        }


class Grafana:
    """A context manager. Every method raises `LogfireMcpError` with what Grafana said."""

    def __init__(self, url: str, api_key: str) -> None:
        """``api_key``: of a service account that may write data sources and dashboards."""
        self.url = url.rstrip("/")
        headers = {"authorization": f"Bearer {api_key}"}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=ANSWER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def set_source(self, source: Source) -> None:
        """Makes the data source, or replaces it."""
        path = f"/api/datasources/uid/{DATA_SOURCE_UID}"
        known = self._asked("GET", path).status_code == 200
        if known:
            self._told("PUT", path, source.content())
        else:
            self._told("POST", "/api/datasources", source.content())

    def source_problem(self) -> str:
        """Why Grafana cannot use the data source, "" where it can: its *Save & test*."""
        answer = self._asked("GET", f"/api/datasources/uid/{DATA_SOURCE_UID}/health")
        told = _content(answer)
        if answer.status_code == 200 and told.get("status") == "OK":
            return ""
        return str(told.get("message") or f"HTTP {answer.status_code}")

    def set_dashboard(self, board: dict[str, Any]) -> str:
        """Makes the dashboard, or replaces the one with its uid; its URL."""
        asked = {"dashboard": {**board, "id": None}, "overwrite": True}
        told = self._told("POST", "/api/dashboards/db", asked)
        return f"{self.url}{told.get('url', '')}"

    def _told(self, method: str, path: str, content: dict[str, Any]) -> dict[str, Any]:
        answer = self._asked(method, path, content)
        if answer.status_code == 200:
            return _content(answer)
        if answer.status_code in (401, 403):
            raise LogfireMcpError(
                f"Grafana refuses GRAFANA_API_KEY at {path} ({answer.status_code}): it takes a "
                "service account's token with the role Admin"
            )
        said = _content(answer).get("message", "")
        raise LogfireMcpError(f"Grafana answered {path} by {answer.status_code}: {said}")

    def _asked(
        self, method: str, path: str, content: dict[str, Any] | None = None
    ) -> httpx.Response:
        try:
            return self._client.request(method, path, json=content)
        except httpx.HTTPError as error:
            raise LogfireMcpError(
                f"Grafana did not answer at GRAFANA_URL, {self.url}: {error}"
            ) from error


def _content(answer: httpx.Response) -> dict[str, Any]:
    """{} where it is no JSON object."""
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
