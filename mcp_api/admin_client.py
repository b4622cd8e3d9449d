"""The running server, as the commands find it, and what they ask of its ``/admin`` routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streams.errors import LogfireMcpError

if TYPE_CHECKING:
    from streams.config import Settings

ANSWER_S: Final = 60.0


def running_server(settings: Settings) -> tuple[str, dict[str, str]]:
    """The URL of the server on the data directory, and the headers that it asks for;
    `LogfireMcpError` where none runs."""
    from mcp_api.discovery import find

    found = find(settings.data_dir)
    if found is None:
        raise LogfireMcpError(
            f"no server is running on {settings.data_dir}: "
            "start one with `logfire-mcp-server serve`"
        )
    headers = {} if settings.token is None else {"authorization": f"Bearer {settings.token}"}
    return found.url, headers


def ask(settings: Settings, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    """The server's JSON answer; `LogfireMcpError` for a refusal, or where no server runs."""
    import httpx

    url, headers = running_server(settings)
    try:
        answer = httpx.request(
            method,
            f"{url}{path}",
            content=body,
            headers={**headers, "content-type": "application/json"},
            timeout=ANSWER_S,
            trust_env=False,
        )
        told: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise LogfireMcpError(f"the server at {url} did not answer: {error}") from error
    if answer.status_code != 200:
        raise LogfireMcpError(told["error"]["message"])
    return told
