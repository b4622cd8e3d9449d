"""`MetricsProducer`: metrics from any Python program straight into the log on Kafka.

It writes the same events as `collect_metrics` does, with the same names, limits and refusals, but
without a server between: points are gathered as columns, cut by partition, encoded and sent in
large records. An acknowledged point is on all in-sync replicas and counts once, also where a
record had to be sent again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import numpy as np
import numpy.typing as npt

from streams.errors import InputError, LogUnavailable
from streams.events.batch import Ints
from streams.ingest.gathering import too_late
from streams.ingest.json_points import checked_source
from streams.ingest.one_point import stated_ms
from streams.ingest.outgoing import ANOTHERS, Columns, Series, series_key
from streams.ingest.parsed import shown
from streams.ingest.timestamps import FUTURE_MS_MAX
from streams.log.kafka_config import KafkaConfig
from streams.log.wall_clock import wall_clock_ms
from streams.outflow import FlowLimits, FlowOptions, Outflow, ProducerStats

__all__ = ["MetricsProducer", "ProducerStats", "Series", "SyncMetricsProducer"]

T = TypeVar("T")

Timestamp = str | float | datetime | None
Numbers = Sequence[float] | npt.NDArray[Any]


class MetricsProducer:
    """``async with MetricsProducer("kafka:9092", source="shop") as producer``; for one event loop.

    ``kafka``: the brokers as ``host:port``, comma-separated, or a `KafkaConfig` (TLS, SASL, another
    topic prefix). ``source``: who sends; the label ``source`` of every series.

    Points are sent once enough of them wait, ``linger_s`` after the first at the latest, at
    `flush` and at `close`. At most ``points_in_flight_max`` points and about
    ``bytes_in_flight_max`` encoded bytes are on their way: then `send` waits or, with
    ``drop_when_full``, drops and counts. A record that is not acknowledged within
    ``delivery_timeout_s`` (two minutes, so that outages of half a minute are bridged) has failed:
    the next `flush` or `close` raises `LogUnavailable`. At most ``series_max`` series.
    """

    def __init__(
        self,
        kafka: KafkaConfig | str,
        *,
        source: str,
        drop_when_full: bool = False,
        **options: Unpack[FlowOptions],
    ) -> None:
        self._outflow = _outflow(kafka, source, options)
        self._drops = drop_when_full

    async def __aenter__(self) -> Self:
        """Connects; `LogUnavailable` where the topic cannot be written."""
        await self._outflow.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Closes; an error of the block goes first, and what was lost is noted in it."""
        try:
            await self.close()
        except LogUnavailable as lost:
            if error is None:
                raise
            error.add_note(str(lost))

    @property
    def stats(self) -> ProducerStats:
        """How many points were sent, acknowledged, dropped, failed."""
        return self._outflow.stats

    def series(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        metric_type: str = "gauge",
        unit: str | None = None,
    ) -> Series:
        """A series for `send` and `send_many`, checked once. `InputError` with the reason."""
        return self._outflow.series(name, labels, metric_type, unit)

    async def send(
        self,
        name: str | Series,
        value: float,
        labels: Mapping[str, str] | None = None,
        *,
        metric_type: str = "gauge",
        unit: str | None = None,
        timestamp: Timestamp = None,
    ) -> bool:
        """Takes one point, as `collect_metrics` has them; False: dropped.

        ``name``: the metric's, or a `series` (which has labels, type and unit already).
        ``timestamp``: ISO 8601 with offset, Unix seconds or milliseconds, or an aware datetime; now
        by default. `InputError` with the reason where the point would be refused.
        """
        number = _number(self._outflow, name, labels, metric_type, unit)
        at_ms = wall_clock_ms() if timestamp is None else _at_ms(timestamp)
        value = value if type(value) is float else _number_value(value)
        while not self._outflow.take_point(number, at_ms, value):
            if self._drops:
                self._outflow.drop(1)
                return False
            await self._outflow.room(1)
        if self._outflow.pressing:
            await asyncio.sleep(0)
        return True

    async def send_many(
        self,
        series: Sequence[Series],
        values: Numbers,
        *,
        index: Numbers | None = None,
        at_ms: Numbers | int | None = None,
    ) -> int:
        """Takes columns of points; how many of them (all, unless it drops).

        Point i is ``values[i]`` of ``series[index[i]]`` (of ``series[i]`` without an index) at
        ``at_ms[i]`` (Unix milliseconds; one for all of them, or now). Quickest with a tuple of
        series that is kept. `InputError`, and nothing is taken, where one of them is refused.
        """
        taken = 0
        for piece in _pieces(self._outflow, series, values, index, at_ms):
            while not (room := self._outflow.take_columns(piece)) and not self._drops:
                await self._outflow.room(len(piece))
            if room:
                taken += len(piece)
            else:
                self._outflow.drop(len(piece))
            if self._outflow.pressing:
                await asyncio.sleep(0)
        return taken

    async def flush(self) -> None:
        """Returns when all that was taken is acknowledged; `LogUnavailable` where some is not."""
        await self._outflow.flush()

    async def close(self) -> None:
        """Flushes and ends; ``async with`` does it. Raises as `flush`, once all has ended."""
        await self._outflow.close()


class SyncMetricsProducer:
    """`MetricsProducer` for programs without an event loop: the same names, without ``await``.

    ``with SyncMetricsProducer("kafka:9092", source="shop") as producer``; any number of threads may
    send. Encoding and Kafka are in a thread of its own.
    """

    def __init__(
        self,
        kafka: KafkaConfig | str,
        *,
        source: str,
        drop_when_full: bool = False,
        **options: Unpack[FlowOptions],
    ) -> None:
        self._outflow = _outflow(kafka, source, options)
        self._drops = drop_when_full
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="metrics-producer", daemon=True
        )

    def __enter__(self) -> Self:
        """Connects; `LogUnavailable` where the topic cannot be written."""
        self._thread.start()
        try:
            self._run(self._outflow.start())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Closes; an error of the block goes first, and what was lost is noted in it."""
        try:
            self.close()
        except LogUnavailable as lost:
            if error is None:
                raise
            error.add_note(str(lost))

    @property
    def stats(self) -> ProducerStats:
        """How many points were sent, acknowledged, dropped, failed."""
        return self._outflow.stats

    def series(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        metric_type: str = "gauge",
        unit: str | None = None,
    ) -> Series:
        """As `MetricsProducer.series`."""
        return self._outflow.series(name, labels, metric_type, unit)

    def send(
        self,
        name: str | Series,
        value: float,
        labels: Mapping[str, str] | None = None,
        *,
        metric_type: str = "gauge",
        unit: str | None = None,
        timestamp: Timestamp = None,
    ) -> bool:
        """As `MetricsProducer.send`."""
        number = _number(self._outflow, name, labels, metric_type, unit)
        at_ms = wall_clock_ms() if timestamp is None else _at_ms(timestamp)
        value = value if type(value) is float else _number_value(value)
        while not self._outflow.take_point(number, at_ms, value):
            if self._drops:
                self._outflow.drop(1)
                return False
            self._run(self._outflow.room(1))
        return True

    def send_many(
        self,
        series: Sequence[Series],
        values: Numbers,
        *,
        index: Numbers | None = None,
        at_ms: Numbers | int | None = None,
    ) -> int:
        """As `MetricsProducer.send_many`."""
        taken = 0
        for piece in _pieces(self._outflow, series, values, index, at_ms):
            while not (room := self._outflow.take_columns(piece)) and not self._drops:
                self._run(self._outflow.room(len(piece)))
            if room:
                taken += len(piece)
            else:
                self._outflow.drop(len(piece))
        return taken

    def flush(self) -> None:
        """As `MetricsProducer.flush`."""
        self._run(self._outflow.flush())

    def close(self) -> None:
        """As `MetricsProducer.close`."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._outflow.close())
        finally:
            self._end()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _outflow(kafka: KafkaConfig | str, source: str, options: FlowOptions) -> Outflow:
    if isinstance(kafka, str):
        kafka = KafkaConfig(tuple(part.strip() for part in kafka.split(",") if part.strip()))
    return Outflow(kafka, checked_source(source), FlowLimits(**options))


def _number(
    outflow: Outflow,
    name: str | Series,
    labels: Mapping[str, str] | None,
    metric_type: str,
    unit: str | None,
) -> int:
    if type(name) is str:
        try:
            known = outflow.outgoing.known(series_key(name, labels, metric_type, unit))
        except (TypeError, AttributeError):
            known = None
        if known is not None:
            return known
    if not isinstance(name, Series):
        return outflow.number(name, labels, metric_type, unit)
    if name.outgoing is not outflow.outgoing:
        raise InputError(ANOTHERS)
    return name.number


def _number_value(value: object) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int | np.integer | np.floating) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise InputError("value is no number that 64-bit floats reach") from error
    raise InputError(f"value is {shown(value)}; expected a number")


def _at_ms(timestamp: str | float | datetime) -> int:
    now_ms = wall_clock_ms()
    if isinstance(timestamp, datetime):
        if timestamp.tzinfo is None:
            raise InputError("timestamp is a datetime without an offset; give it a time zone")
        timestamp = timestamp.timestamp()
    try:
        at_ms = stated_ms(timestamp)
    except ValueError as error:
        raise InputError(str(error)) from error
    if at_ms > now_ms + FUTURE_MS_MAX:
        raise InputError(too_late(at_ms, now_ms))
    return at_ms


def _pieces(
    outflow: Outflow,
    series: Sequence[Series],
    values: Numbers,
    index: Numbers | None,
    at_ms: Numbers | int | None,
) -> Iterator[Columns]:
    """Checked columns, in pieces that back-pressure can let through one by one."""
    value = _column(values, "values", np.float64)
    count = len(value)
    numbers = outflow.numbers(series)
    if index is None:
        if count != len(numbers):
            raise InputError(f"{count} values of {len(numbers)} series; give an index")
    else:
        rows = _column(index, "index", np.int64)
        if len(rows) != count:
            raise InputError(f"{count} values and {len(rows)} in the index")
        if count and not (int(rows.min()) >= 0 and int(rows.max()) < len(numbers)):
            raise InputError(f"index names others than the {len(numbers)} series")
        numbers = numbers[rows]
    columns = Columns(numbers, _times(at_ms, count), value)
    size = outflow.piece_points_max
    for start in range(0, count, size):
        stop = start + size
        yield Columns(numbers[start:stop], columns.at_ms[start:stop], value[start:stop])


def _times(at_ms: Numbers | int | None, count: int) -> Ints:
    now_ms = wall_clock_ms()
    if at_ms is None:
        return np.full(count, now_ms, np.int64)
    one = isinstance(at_ms, int | np.integer)
    times = np.full(count, at_ms, np.int64) if one else _column(at_ms, "at_ms", np.int64)
    if len(times) != count:
        raise InputError(f"{count} values and {len(times)} times")
    bad = np.flatnonzero((times < 0) | (times > now_ms + FUTURE_MS_MAX))
    if len(bad):
        late = int(times[bad[0]])
        why = too_late(late, now_ms) if late > 0 else f"timestamp is {late} ms, before 1970"
        raise InputError(f"point {bad[0]}: {why}")
    return times


def _column(given: Any, field: str, dtype: type[np.generic]) -> Any:
    """A column of our own, so that the caller may go on using the given one."""
    array = np.asarray(given)
    if array.size == 0:
        array = array.astype(dtype)
    kinds = "iuf" if dtype is np.float64 else "iu"
    if array.ndim != 1 or array.dtype.kind not in kinds:
        raise InputError(
            f"{field} has {array.ndim} dimensions of {array.dtype}; expected one of numbers"
        )
    return array.astype(dtype)
