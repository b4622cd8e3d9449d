"""Where a sink that cannot hold its own position keeps it, and which position is safe to keep."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, Protocol

from projections.source import Partition
from streams.errors import SinkError

SETTLE_S: Final = 10.0
"""Databases acknowledge before what they took is on their disk (VictoriaMetrics: up to some seconds
before), so a position counts as reached only so much later."""

SAVE_S: Final = 1.0
"""At least, between two savings."""


class PositionStore(Protocol):
    """The next offset of each partition, of one sink and one log."""

    def load(self, places: Collection[Partition]) -> dict[Partition, int]:
        """Those that are known. `SinkError` where they cannot be read now."""
        ...

    def save(self, positions: Mapping[Partition, int]) -> None:
        """Durable when it returns; those not named stay. `SinkError` where that fails."""
        ...

    def close(self) -> None:
        """Never raises."""
        ...


class PositionFile:
    """A `PositionStore` in a small JSON file, replaced as a whole, for a sink of one process."""

    def __init__(self, path: Path, belongs: str) -> None:
        """``belongs``: names the log and where it is copied to. A file that belongs to another, or
        is none of ours, counts as empty: what is copied twice changes nothing."""
        self._path = path
        self._belongs = belongs

    def load(self, places: Collection[Partition]) -> dict[Partition, int]:
        return {place: at for place, at in self._all().items() if place in places}

    def save(self, positions: Mapping[Partition, int]) -> None:
        told = {f"{topic}/{number}": at for (topic, number), at in sorted(self._all().items())}
        told |= {f"{topic}/{number}": at for (topic, number), at in sorted(positions.items())}
        text = json.dumps({"belongs": self._belongs, "positions": told}, indent=1)
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            with beside.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            raise SinkError(f"{self._path} cannot be written: {error}") from error

    def close(self) -> None:
        """Nothing is held open."""

    def _all(self) -> dict[Partition, int]:
        try:
            told = json.loads(self._path.read_bytes())
            if told["belongs"] != self._belongs:
                return {}
            found = {}
            for place, at in told["positions"].items():
                topic, _, number = place.rpartition("/")
                found[topic, int(number)] = int(at)
            return found
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SinkError(f"{self._path} cannot be read: {error}") from error
        except (ValueError, LookupError, TypeError, AttributeError):
            return {}


class Settled:
    """Keeps in a `PositionStore` what was acknowledged ``settle_s`` ago."""

    def __init__(
        self,
        store: PositionStore,
        *,
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settle_s = settle_s
        self._clock = clock
        self._saved_at = clock()
        self._waiting: deque[tuple[float, dict[Partition, int]]] = deque()

    def load(self, places: Collection[Partition]) -> dict[Partition, int]:
        """From here on everything is to be written again."""
        self._waiting.clear()
        return self._store.load(places)

    def acknowledged(self, positions: Mapping[Partition, int]) -> None:
        """The database says that it has everything before these."""
        now = self._clock()
        self._waiting.append((now, dict(positions)))
        if now - self._saved_at < min(SAVE_S, self._settle_s):
            return
        settled: dict[Partition, int] = {}
        while self._waiting and self._waiting[0][0] <= now - self._settle_s:
            settled |= self._waiting.popleft()[1]
        if settled:
            self._store.save(settled)
            self._saved_at = now

    def close(self) -> None:
        """What has not settled is written again next time."""
        self._store.close()
