"""InfluxDB's line protocol to columns: what Telegraf and its kind send.

Every field that is a number becomes a sample of the gauge ``measurement_field`` (``measurement``
for the field ``value``); true and false are 1 and 0, strings are left out. Tags are labels. The
label ``source`` is the tag of that name, else what the caller gives. A bad line is rejected whole,
with its number (from 1 on) and its reason; the others are kept.

Where a body has no escapes, strings or comments it is read by `line_columns`, several times faster
and with the same result.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from streams.errors import TooLarge
from streams.events.batch import AT_MS_MAX, Floats, Ints, MetricType
from streams.events.labels import SOURCE
from streams.ingest import line_columns
from streams.ingest.gathering import stamped, timed
from streams.ingest.line_syntax import Line, head_parts, lines, plain
from streams.ingest.parsed import (
    POINTS_A_REQUEST_MAX,
    REJECTED_MAX,
    Content,
    Parsed,
    Rejected,
    shown,
)
from streams.ingest.series_cache import Entry, dictionary_of, make_entry
from streams.ingest.timestamps import ABSENT

UNITS_A_MS: Final = {"ns": 1_000_000, "us": 1_000, "ms": 1, "s": 0}
"""Timestamps of each precision in a millisecond; 0: seconds."""

COLUMNS_BYTES_MIN: Final = 8_192
"""Smaller bodies are read line by line: the kernels' own cost is some 0.3 ms."""

CACHED_BYTES_MAX: Final = 64 << 20
_ENTRY_BYTES = 640


class SeriesOfHeads:
    """The series of heads and fields that came before; bounded by bytes, then begun anew."""

    def __init__(self, bytes_max: int = CACHED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._known: dict[tuple[str, str], dict[str, Entry]] = {}
        self._lock = threading.Lock()

    def entries(self, source: str, head: str) -> dict[str, Entry]:
        """Field (as written) to series, of what is known of a head: `add` knows the rest."""
        return self._known.get((source, head), {})

    def add(self, source: str, head: str, field: str) -> Entry:
        """The series of a head and a field as written; `ValueError` where it cannot be one."""
        measurement, tags = head_parts(head)
        name = plain(field, ", =")
        name = measurement if name == "value" else f"{measurement}_{name}"
        origin = tags.pop(SOURCE, source)
        entry = make_entry(origin, name, tags, MetricType.GAUGE.value, None)
        with self._lock:
            if self._bytes > self._bytes_max:
                self._known, self._bytes = {}, 0
            self._known.setdefault((source, head), {})[field] = entry
            self._bytes += _ENTRY_BYTES + len(head) + len(entry.text)
        return entry


_CACHE = SeriesOfHeads()


def parse_lines(
    body: bytes,
    now_ms: int,
    *,
    source: str,
    precision: str = "ns",
    cache: SeriesOfHeads = _CACHE,
) -> Parsed:
    """The samples of a body; lines without a time get ``now_ms``.

    ``Rejected.index`` and ``indices`` are numbers of lines, from 1 on. Raises `TooLarge` over
    1,000,000 samples. The same body gives the same result whatever came before it.
    """
    parsed = None
    if len(body) >= COLUMNS_BYTES_MIN:
        parsed = _by_columns(body, now_ms, source, precision, cache)
    return parsed or _line_by_line(body, now_ms, source, precision, cache)


def _by_columns(
    body: bytes, now_ms: int, source: str, precision: str, cache: SeriesOfHeads
) -> Parsed | None:
    columns = line_columns.read(body)
    if columns is None or len(columns.value) > POINTS_A_REQUEST_MAX:
        return None
    stated_ms = np.full(len(columns.value), ABSENT, np.int64)
    if columns.stamp is not None:
        at_ms = _in_ms(columns.stamp, precision)
        if at_ms is None:
            return None
        stated_ms = at_ms[columns.line]
    try:
        known = {head: cache.entries(source, head) for head in columns.heads}
        entries = [
            known[head].get(field) or cache.add(source, head, field)
            for head, field in columns.series
        ]
    except ValueError:
        return None
    dictionary = dictionary_of(entries)
    content = Content(
        dictionary.labels,
        dictionary.types,
        dictionary.units,
        dictionary.series[columns.of_point],
        stated_ms,
        columns.value,
    )
    parsed = Parsed(
        source, stamped(content, now_ms), (), 0, None, content, (columns.line + 1).astype(np.int64)
    )
    return timed(parsed, now_ms)


def _in_ms(stamps: Ints, precision: str) -> Ints | None:
    """Unix milliseconds; None where one lies before 1970 or after every calendar."""
    if int(stamps.min()) < 0:
        return None
    units = UNITS_A_MS[precision]
    if units == 0 and int(stamps.max()) > AT_MS_MAX // 1000:
        return None
    at_ms = stamps // units if units else stamps * 1000
    return at_ms if int(at_ms.max()) <= AT_MS_MAX else None


class _Samples:
    """The samples of a body as its lines are read."""

    def __init__(self, source: str, precision: str, cache: SeriesOfHeads) -> None:
        self._source = source
        self._precision = precision
        self._cache = cache
        self.entries: list[Entry] = []
        self.values: list[float] = []
        self.stated_ms: list[int] = []
        self.numbers: list[int] = []
        self.rejected: list[Rejected] = []
        self.rejected_count = 0

    def take(self, number: int, sent: str, line: Line | str) -> None:
        """Takes one line, or rejects it with its reason."""
        try:
            if isinstance(line, str):
                raise ValueError(line)
            _check_utf8(sent)
            stated_ms = self._stated_ms(line.stamp)
            known = self._cache.entries(self._source, line.head)
            if not line.fields and not known:
                head_parts(line.head)
            entries = [
                known.get(field) or self._cache.add(self._source, line.head, field)
                for field, _ in line.fields
            ]
        except ValueError as error:
            self.rejected_count += 1
            if len(self.rejected) < REJECTED_MAX:
                self.rejected.append(Rejected(number, str(error)))
            return
        count = len(entries)
        self.entries += entries
        self.values += [value for _, value in line.fields]
        self.stated_ms += [stated_ms] * count
        self.numbers += [number] * count
        if len(self.entries) > POINTS_A_REQUEST_MAX:
            raise TooLarge(
                f"over {POINTS_A_REQUEST_MAX} points in one request; send them in several"
            )

    def _stated_ms(self, stamp: int | None) -> int:
        if stamp is None:
            return ABSENT
        units = UNITS_A_MS[self._precision]
        at_ms = stamp // units if units else stamp * 1000
        if stamp < 0:
            raise ValueError(f"the timestamp is {stamp}, before 1970")
        if at_ms > AT_MS_MAX:
            raise ValueError(
                f"the timestamp is {stamp}, after the year 9999; expected Unix {self._precision}"
            )
        return at_ms


def _line_by_line(
    body: bytes, now_ms: int, source: str, precision: str, cache: SeriesOfHeads
) -> Parsed:
    samples = _Samples(source, precision, cache)
    for number, sent, line in lines(body.decode("utf-8", "surrogateescape")):
        samples.take(number, sent, line)
    dictionary = dictionary_of(samples.entries)
    values: Floats = np.array(samples.values, np.float64)
    content = Content(
        dictionary.labels,
        dictionary.types,
        dictionary.units,
        dictionary.series,
        np.array(samples.stated_ms, np.int64),
        values,
    )
    parsed = Parsed(
        source,
        stamped(content, now_ms),
        tuple(samples.rejected),
        samples.rejected_count,
        None,
        content,
        np.array(samples.numbers, np.int64),
    )
    return timed(parsed, now_ms)


def _check_utf8(sent: str) -> None:
    if sent.isascii():
        return
    try:
        sent.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the line is not UTF-8: {shown(sent[error.start :])}") from error
