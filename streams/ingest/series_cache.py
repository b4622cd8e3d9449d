"""What earlier requests taught: raw tags already understood, and whole sequences of series.

Producers send the same series again and again, mostly in the same order. A request is compared with
the last one that began with the same point (some 20 ns a point); where it differs, each point is
looked up by its raw bytes (some 200 ns); only what was never seen is decoded and checked. Results
never depend on what is in here. Bounded by bytes; safe to use from several threads.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from streams.events.batch import Index
from streams.events.labels import (
    LABELS_MAX,
    NAME,
    NAME_BYTES_MAX,
    SOURCE,
    labels_problem,
    series_text,
)

ENTRIES_BYTES_MAX: Final = 96 << 20
REMEMBERED_BYTES_MAX: Final = 64 << 20
REMEMBERED_MAX: Final = 4_096
_ENTRY_BYTES = 480  # an entry's objects without their text, from sys.getsizeof
_POINT_BYTES = 320  # a remembered point's, with the request's bytes that its raw tags keep alive

UNIT_BYTES_MAX: Final = 64

_decode_tags = msgspec.json.Decoder(dict[str, str]).decode

RawKey = tuple[str, str, bytes, str, str | None]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A series as a point states it; compared by identity, which is quick."""

    text: str
    type: str
    unit: str


@dataclass(frozen=True, slots=True)
class Stated:
    """The columns of a request's points that name their series, as they were sent."""

    names: list[str] = field(default_factory=list)
    tags: list[msgspec.Raw] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    units: list[str | None] = field(default_factory=list)

    def extend(self, more: Stated) -> None:
        """Appends the points of a following chunk."""
        self.names.extend(more.names)
        self.tags.extend(more.tags)
        self.types.extend(more.types)
        self.units.extend(more.units)

    def same_from(self, start: int, other: Stated) -> bool:
        """Whether ``other`` goes on from ``start`` exactly as this did."""
        stop = start + len(other.names)
        return (
            self.names[start:stop] == other.names
            and self.tags[start:stop] == other.tags
            and self.types[start:stop] == other.types
            and self.units[start:stop] == other.units
        )


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """The distinct series of a request in the order of their first points.

    ``series``: for each point the index of its series. A series stated with two types or units has
    those of its last point.
    """

    labels: tuple[str, ...]
    types: tuple[str, ...]
    units: tuple[str, ...]
    series: Index


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """A whole request's sequence of series, as sent and as understood."""

    stated: Stated
    entries: list[Entry]
    dictionary: Dictionary


class SeriesCache:
    """Raw keys to entries (two generations), and first points to whole sequences (LRU)."""

    def __init__(
        self,
        entries_bytes_max: int = ENTRIES_BYTES_MAX,
        remembered_bytes_max: int = REMEMBERED_BYTES_MAX,
    ) -> None:
        self._generation_bytes_max = entries_bytes_max // 2
        self._remembered_bytes_max = remembered_bytes_max
        self._young: dict[RawKey, Entry] = {}
        self._old: dict[RawKey, Entry] = {}
        self._young_bytes = 0
        self._old_bytes = 0
        self._sequences: OrderedDict[RawKey, tuple[Remembered, int]] = OrderedDict()
        self._sequences_bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes_held(self) -> int:
        """An estimate of what is kept, never far above the two limits together."""
        return self._young_bytes + self._old_bytes + self._sequences_bytes

    def entries(self, source: str, stated: Stated) -> list[Entry]:
        """The entry of each point; `ValueError` if a point's name, tags or unit are not valid."""
        young, missed = self._young, self._missed
        keys = zip(
            itertools.repeat(source),
            stated.names,
            map(bytes, stated.tags),
            stated.types,
            stated.units,
            strict=False,
        )
        return [young.get(key) or missed(key) for key in keys]

    def recall(self, source: str, first: Stated) -> Remembered | None:
        """The last sequence that began with the same point as ``first``."""
        key = _first(source, first)
        with self._lock:
            if key not in self._sequences:
                return None
            self._sequences.move_to_end(key)
            return self._sequences[key][0]

    def remember(self, source: str, sequence: Remembered, bytes_sent: int) -> None:
        """Keeps a sequence, and forgets those that were not recalled for longest."""
        key = _first(source, sequence.stated)
        size = len(sequence.entries) * _POINT_BYTES + bytes_sent
        if size > self._remembered_bytes_max // 2:
            return
        with self._lock:
            self._forget(key)
            self._sequences[key] = (sequence, size)
            self._sequences_bytes += size
            while (
                self._sequences_bytes > self._remembered_bytes_max
                or len(self._sequences) > REMEMBERED_MAX
            ):
                self._forget(next(iter(self._sequences)))

    def _forget(self, key: RawKey) -> None:
        if key in self._sequences:
            self._sequences_bytes -= self._sequences.pop(key)[1]

    def _missed(self, key: RawKey) -> Entry:
        # Threads may race here: the worst is an entry made twice or a generation begun early.
        entry = self._old.get(key) or _understand(key)
        if self._young_bytes > self._generation_bytes_max:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = entry
        self._young_bytes += _ENTRY_BYTES + len(key[1]) + len(key[2]) + len(entry.text)
        return entry


def make_entry(
    source: str, name: str, tags: dict[str, str], metric_type: str, unit: str | None
) -> Entry:
    """The series of one point; `ValueError` with one sentence where it cannot be one.

    >>> make_entry("edge", "cpu", {"host": "a"}, "gauge", None).text
    '{"__name__":"cpu","host":"a","source":"edge"}'
    """
    if SOURCE in tags:
        raise ValueError(
            "tag 'source' is taken by the request's source argument; give the tag another name"
        )
    labels = {**tags, SOURCE: source}
    text = _plain_text(name, labels)
    if text is None:
        if problem := labels_problem(name, labels):
            raise ValueError(problem)
        text = series_text(name, labels)
    if unit:
        try:
            size = len(unit.encode())
        except UnicodeEncodeError as error:
            raise ValueError("unit holds a lone surrogate, which UTF-8 cannot write") from error
        if size > UNIT_BYTES_MAX:
            raise ValueError(f"unit is longer than {UNIT_BYTES_MAX} bytes")
    return Entry(text, metric_type, unit or "")


def dictionary_of(entries: Sequence[Entry]) -> Dictionary:
    """Numbers the series of a request's points."""
    texts = [entry.text for entry in entries]
    last = dict(zip(texts, entries, strict=True))
    number = dict(zip(last, range(len(last)), strict=True))
    return Dictionary(
        labels=tuple(last),
        types=tuple([entry.type for entry in last.values()]),
        units=tuple([entry.unit for entry in last.values()]),
        series=np.array([number[text] for text in texts], np.int32),
    )


def _plain_text(name: str, labels: dict[str, str]) -> str | None:
    """The identity, if it is so short that no limit can be broken; None: look closely."""
    if not name or NAME in labels or "" in labels or len(labels) > LABELS_MAX:
        return None
    if "" in labels.values():  # such a label is left out of the text, however long its name
        return None
    try:
        text = series_text(name, labels)
    except UnicodeEncodeError:
        return None
    return text if len(text) <= NAME_BYTES_MAX and text.isascii() else None


def _understand(key: RawKey) -> Entry:
    source, name, raw, metric_type, unit = key
    tags = {} if raw == b"null" else _decode_tags(raw)
    return make_entry(source, name, tags, metric_type, unit)


def _first(source: str, stated: Stated) -> RawKey:
    name, raw = stated.names[0], bytes(stated.tags[0])
    return (source, name, raw, stated.types[0], stated.units[0])
