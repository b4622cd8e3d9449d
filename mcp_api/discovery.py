"""How processes of one machine find the server of a data directory: ``server.json`` in it.

The file is a hint, never a lock (the log has one): a reader asks the server whether it is alive
and the one that wrote the file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

FILE = "server.json"
ASK_S = 2.0


@dataclass(frozen=True, slots=True)
class Found:
    """A server: its process id, base URL (no slash at the end) and start, RFC 3339."""

    pid: int
    url: str
    started_at: str


def announce(data_dir: Path, found: Found) -> None:
    """Writes the file whole or not at all, readable by its owner only."""
    beside = data_dir / f".{FILE}.{os.getpid()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(found), file)
    beside.replace(data_dir / FILE)


def withdraw(data_dir: Path, found: Found) -> None:
    """Removes the file if it is still the one that `announce` wrote."""
    if announced(data_dir) == found:
        (data_dir / FILE).unlink(missing_ok=True)


def announced(data_dir: Path) -> Found | None:
    """What the file says, None if there is none or it is not readable as one."""
    try:
        told = json.loads((data_dir / FILE).read_bytes())
        return Found(int(told["pid"]), str(told["url"]), str(told["started_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(data_dir: Path) -> Found | None:
    """The running server of a data directory, None if none answers within 2 s."""
    # Late: most commands need no HTTP client, and it costs 60 ms.
    import httpx

    found = announced(data_dir)
    if found is None:
        return None
    try:
        answer = httpx.get(f"{found.url}/health", timeout=ASK_S, trust_env=False)
    except httpx.HTTPError:
        return None
    return found if _is(found, answer) else None


async def find_async(data_dir: Path, client: httpx.AsyncClient) -> Found | None:
    """`find` without blocking."""
    import httpx

    found = announced(data_dir)
    if found is None:
        return None
    try:
        answer = await client.get(f"{found.url}/health", timeout=ASK_S)
    except httpx.HTTPError:
        return None
    return found if _is(found, answer) else None


def _is(found: Found, answer: httpx.Response) -> bool:
    # Another program may have got the port of a server that was killed.
    try:
        told = answer.json()
        return bool(answer.status_code == 200 and told["pid"] == found.pid)
    except (ValueError, KeyError, TypeError):
        return False
