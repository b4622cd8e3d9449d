"""Fetching another node's database (`mcp_api.snapshot_route`), for a node that has none yet."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from streams.errors import ProjectionError

_LOGGER = logging.getLogger(__name__)

CONNECT_S = 5.0
READ_S = 120.0
"""Until the next bytes come; before the first ones the copy is made."""
BUSY_S = 60.0
"""How long a node is asked again that says "not now": others may be copying from it."""
RETRY_S = 2.0

Fetched = Callable[[int, int], None]
"""Told of bytes so far and in all."""


def fetch_snapshot(url: str, token: str | None, target: Path, told: Fetched) -> None:
    """Writes the database of the node at ``url`` into a new file, fsynced.

    `ProjectionError` with the reason where it is not to be had; nothing is left at ``target`` then.
    Whether it belongs to the log is for the caller to see.
    """
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
    give_up = time.monotonic() + BUSY_S
    try:
        with httpx.Client(headers=headers, timeout=timeout, trust_env=False) as client:
            while not _fetched(client, f"{url.rstrip('/')}/admin/snapshot", target, told, give_up):
                time.sleep(RETRY_S)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        target.unlink(missing_ok=True)
        raise ProjectionError(f"{url} gave no snapshot: {error!r}") from error


def _fetched(client: httpx.Client, url: str, target: Path, told: Fetched, give_up: float) -> bool:
    """False where the node says that it can be asked again, and there is time left."""
    with client.stream("GET", url) as answer:
        if answer.status_code == 503 and time.monotonic() < give_up:
            _LOGGER.info("%s has no snapshot at the moment; asking again", url)
            return False
        if answer.status_code != 200:
            answer.read()
            raise ProjectionError(f"{url} answered {answer.status_code}: {answer.text[:300]}")
        _write(answer, target, told)
        return True


def _write(answer: httpx.Response, target: Path, told: Fetched) -> None:
    """The client checks that as many bytes come as were announced."""
    size = int(answer.headers.get("content-length", 0))
    written = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in answer.iter_raw():
            file.write(chunk)
            written += len(chunk)
            told(written, size)
        file.flush()
        os.fsync(file.fileno())
