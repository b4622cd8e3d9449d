"""The ``export`` command's bytes: streamed from the running server, or read from the files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from mcp_api.data_dir import owned_log, projection_path
from mcp_api.discovery import Found
from mcp_api.tools.export import ExportRequest, export_path, open_export, parse_export
from projections.projector import Projector
from projections.queries import Queries
from streams.config import Settings
from streams.errors import LogfireMcpError
from streams.log.wall_clock import wall_clock_ms

CATCH_UP_S = 600.0
READ_S = 120.0


@contextmanager
def export_chunks(
    settings: Settings, found: Found | None, arguments: Mapping[str, Any]
) -> Iterator[Iterator[bytes]]:
    """``arguments`` as of ``export_metrics``; `InputError` for invalid ones."""
    request = parse_export(arguments, wall_clock_ms())
    if found is not None:
        with _from_server(settings, found, request) as chunks:
            yield chunks
    else:
        with _from_files(settings, request) as chunks:
            yield chunks


@contextmanager
def _from_server(
    settings: Settings, found: Found, request: ExportRequest
) -> Iterator[Iterator[bytes]]:
    headers = {} if settings.token is None else {"authorization": f"Bearer {settings.token}"}
    url = found.url + export_path(request)
    timeout = httpx.Timeout(READ_S, connect=5.0)
    try:
        with httpx.stream("GET", url, headers=headers, timeout=timeout, trust_env=False) as answer:
            if answer.status_code != 200:
                answer.read()
                raise LogfireMcpError(answer.json()["error"]["message"])
            yield answer.iter_raw()
    except httpx.HTTPError as error:
        raise LogfireMcpError(f"the export broke off: {error}") from error


@contextmanager
def _from_files(settings: Settings, request: ExportRequest) -> Iterator[Iterator[bytes]]:
    """Owns the files meanwhile; what the log has and the database lacks is folded first."""
    with owned_log(settings) as log:
        projector = Projector(log, projection_path(settings))
        projector.start()
        try:
            last = {place: end - 1 for place, end in log.ends().items() if end > 0}
            wanted = {place: last[place] for place in projector.positions() if place in last}
            asyncio.run(projector.wait_for(wanted, CATCH_UP_S))
            yield open_export(Queries(projector), request).chunks
        finally:
            projector.stop()
