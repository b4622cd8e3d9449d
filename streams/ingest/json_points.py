"""`collect_metrics`' JSON to columns: ``{"source", "metrics": [{name, value, …}], "request_id"}``.

The plain case is fast: the points are decoded in pieces that fit the processor's cache, with their
tags left as bytes, and compared with what the source sent before. A piece that is not plain is read
again point by point, so that a bad point is refused with its reason and the good ones are kept.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NoReturn

import msgspec
import numpy as np

from streams.errors import InputError, TooLarge
from streams.events.batch import Floats
from streams.ingest.gathering import Gathering
from streams.ingest.one_point import SPECIAL_VALUES, read_point, unknown_field
from streams.ingest.parsed import (
    POINTS_A_REQUEST_MAX,
    Parsed,
    Rejected,
    request_id_problem,
    required_text,
    shown,
)
from streams.ingest.series_cache import SeriesCache, Stated
from streams.ingest.timestamps import times_column

__all__ = ["Parsed", "Rejected", "parse_arguments", "parse_body"]

FIELDS: Final = ("source", "metrics", "request_id")
SOURCE_BYTES_MAX: Final = 512
_PIECE_BYTES = 150_000
_TAIL_BYTES = 512
_SURROGATE_BYTES_MAX = 4 << 20

# What these match is JSON as it stands, so that with decoded points between them all is checked.
_HEAD = re.compile(
    rb'[ \t\r\n]*\{[ \t\r\n]*"source"[ \t\r\n]*:[ \t\r\n]*"([^"\\\x00-\x1f]*)"[ \t\r\n]*,'
    rb'[ \t\r\n]*"metrics"[ \t\r\n]*:[ \t\r\n]*\['
)
_TAIL = re.compile(
    rb'\](?:[ \t\r\n]*,[ \t\r\n]*"request_id"[ \t\r\n]*:[ \t\r\n]*"([^"\\\x00-\x1f]*)")?'
    rb"[ \t\r\n]*\}[ \t\r\n]*\Z"
)
_CUT = re.compile(rb"\}[ \t\r\n]*(,)[ \t\r\n]*\{")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BARE = re.compile(rb"-?(NaN|Infinity)")
_BYTE = re.compile(r"\(byte (\d+)\)")


class _Point(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str
    value: float | str
    metric_type: Literal["counter", "gauge", "histogram", "summary"]
    tags: msgspec.Raw = msgspec.Raw(b"null")
    timestamp: str | float | None = None
    unit: str | None = None


_decode_points = msgspec.json.Decoder(list[_Point]).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NOT_PLAIN = (ValueError, TypeError, RecursionError, msgspec.MsgspecError)
_CACHE = SeriesCache()


def parse_body(body: bytes | memoryview, now_ms: int, *, cache: SeriesCache = _CACHE) -> Parsed:
    """The request in the bytes of an arguments object.

    Raises `InputError` where the whole cannot be understood (not JSON, not UTF-8, wrong fields),
    `TooLarge` over 1,000,000 points. Points without a time get ``now_ms``. The same request gives
    the same result whatever came before it.
    """
    body = bytes(body)
    if (parsed := parse_plain(body, now_ms, cache=cache)) is not None:
        return parsed
    try:
        return _read_with_care(body, now_ms, cache)
    except UnicodeDecodeError as error:
        raise InputError(f"the arguments are not UTF-8: {_first_bad_byte(body)}") from error
    except RecursionError as error:
        raise InputError("the arguments are nested too deeply to be read") from error


def parse_plain(
    body: bytes,
    now_ms: int,
    *,
    start: int = 0,
    stop: int | None = None,
    cache: SeriesCache = _CACHE,
) -> Parsed | None:
    """`parse_body` of ``body[start:stop]`` if it is as most requests are: fields in order, every
    point plain. Else None. `TooLarge` as there."""
    stop = len(body) if stop is None else stop
    head = _HEAD.match(body, start, stop)
    tail = _TAIL.search(body, max(start, stop - _TAIL_BYTES), stop)
    if head is None or tail is None or tail.start() < head.end():
        return None
    try:
        request_id = None if tail[1] is None else tail[1].decode()
        source, _ = _checked_fields(
            {"source": head[1].decode(), "metrics": [], "request_id": request_id}
        )
        gathering = Gathering(source, cache)
        begin, end = head.end(), tail.start()
        if end - begin <= 2 * _PIECE_BYTES:
            _take_piece(gathering, memoryview(body)[begin - 1 : end + 1])
            begin = end
        while begin < end:
            piece, begin = _piece(body, begin, end)
            _take_piece(gathering, piece)
    except (*_NOT_PLAIN, InputError):
        return None
    return gathering.parsed(request_id, now_ms)


def parse_arguments(
    arguments: Mapping[str, object], now_ms: int, *, cache: SeriesCache = _CACHE
) -> Parsed:
    """The same from an arguments object that is decoded already; the same results and errors."""
    source, request_id = _checked_fields(arguments)
    metrics = arguments["metrics"]
    assert isinstance(metrics, Sequence)
    if len(metrics) > POINTS_A_REQUEST_MAX:
        raise TooLarge(f"over {POINTS_A_REQUEST_MAX} points in one request; send them in several")
    gathering = Gathering(source, cache)
    for sent in metrics:
        _take_one(gathering, sent)
    return gathering.parsed(request_id, now_ms)


def checked_source(source: object) -> str:
    """``source`` if it can be one; `InputError` otherwise."""
    source = required_text(source, "source")
    if not source:
        raise InputError("source is empty; give a string that says who sends the metrics")
    if len(source.encode()) > SOURCE_BYTES_MAX:
        raise InputError(f"source is longer than {SOURCE_BYTES_MAX} bytes")
    return source


def _read_with_care(body: bytes, now_ms: int, cache: SeriesCache) -> Parsed:
    try:
        fields = _decode_fields(body)
    except msgspec.ValidationError as error:
        raise InputError("the arguments are no object; expected source and metrics") from error
    except msgspec.DecodeError as error:
        # msgspec takes no lone surrogates; JSON does, and only the points that hold one are bad.
        if len(body) <= _SURROGATE_BYTES_MAX and _SURROGATE.search(body):
            return parse_arguments(_loaded(body), now_ms, cache=cache)
        _refuse_malformed(body, str(error))
    source, request_id = _checked_fields({name: _glance(raw) for name, raw in fields.items()})
    metrics = bytes(fields["metrics"])
    gathering = Gathering(source, cache)
    start, end = 1, len(metrics) - 1
    while start < end:
        piece, following = _piece(metrics, start, end)
        try:
            _take_piece(gathering, piece)
        except _NOT_PLAIN:
            try:
                raws = _decode_raws(piece)
            except msgspec.DecodeError:  # the cut fell into a string
                raws, following = _decode_raws(b"[" + metrics[start:end] + b"]"), end
            for raw in raws:
                _take_raw(gathering, raw)
        start = following
    return gathering.parsed(request_id, now_ms)


def _piece(points: bytes, start: int, end: int) -> tuple[bytes, int]:
    """Some points from ``start`` on as an array of their own, and where the next piece starts.

    A cut inside a string looks the same, but then the piece does not decode.
    """
    cut = _CUT.search(points, start + _PIECE_BYTES, end)
    stop = cut.start(1) if cut else end
    return b"[" + points[start:stop] + b"]", stop + 1


def _take_piece(gathering: Gathering, piece: bytes | memoryview) -> None:
    points = _decode_points(piece)
    if not points:
        return
    stated = Stated(
        [point.name for point in points],
        [point.tags for point in points],
        [point.metric_type for point in points],
        [point.unit for point in points],
    )
    values = _values([point.value for point in points])
    stated_ms = times_column([point.timestamp for point in points])
    gathering.add_piece(stated, values, stated_ms, len(piece))


def _values(values: list[Any]) -> Floats:
    try:
        return np.frombuffer(array("d", values))
    except TypeError:  # some are strings
        known = [SPECIAL_VALUES.get(v) if isinstance(v, str) else v for v in values]
        if None in known:
            raise ValueError("a value is an unknown string") from None
        return np.array(known, np.float64)


def _take_raw(gathering: Gathering, raw: msgspec.Raw) -> None:
    text = bytes(raw).decode()
    try:
        sent = json.loads(text)
    except (ValueError, RecursionError) as error:
        gathering.reject(f"the point cannot be read: {str(error)[:200]}")
    else:
        _take_one(gathering, sent)


def _take_one(gathering: Gathering, sent: object) -> None:
    try:
        point = read_point(sent, gathering.source)
    except ValueError as error:
        gathering.reject(str(error))
    else:
        gathering.add_point(point)


def _checked_fields(arguments: Mapping[str, object]) -> tuple[str, str | None]:
    """Source and request id; `InputError` unless the arguments' own fields are right."""
    for name in arguments:
        if name not in FIELDS:
            raise InputError(unknown_field(name, FIELDS))
    if "source" not in arguments:
        raise InputError("source is missing; give a string that says who sends the metrics")
    source = checked_source(arguments["source"])
    if "metrics" not in arguments:
        raise InputError("metrics is missing; give an array of points")
    metrics = arguments["metrics"]
    if not isinstance(metrics, list | tuple):
        raise InputError(f"metrics is {shown(metrics)}; expected an array of points")
    request_id = arguments.get("request_id")
    if request_id is None:
        return source, None
    request_id = required_text(request_id, "request_id")
    if problem := request_id_problem(request_id):
        raise InputError(problem)
    return source, request_id


def _glance(raw: msgspec.Raw) -> object:
    """A field's value, but of arrays and objects only what they are: they may be large."""
    text = bytes(raw)
    if text.startswith((b"{", b"[")):
        return {} if text.startswith(b"{") else []
    try:
        return json.loads(text.decode())
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        return 10**100  # an integer with more digits than Python converts


def _loaded(body: bytes) -> Mapping[str, object]:
    def refuse(literal: str) -> NoReturn:
        raise InputError(f'the arguments are not JSON: {literal} stands bare; send "NaN" or "+Inf"')

    try:
        arguments = json.loads(body.decode(), parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise InputError(f"the arguments are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise InputError("the arguments are no object; expected source and metrics")
    return arguments


def _refuse_malformed(body: bytes, problem: str) -> NoReturn:
    hint = ""
    if found := _BYTE.search(problem):
        place = int(found[1])
        if bare := _BARE.match(body, max(0, place - 1)) or _BARE.match(body, place):
            hint = f'; {bare[0].decode()} stands bare: send "NaN", "+Inf" or "-Inf" as strings'
    raise InputError(
        f"the arguments are not JSON: {problem.removeprefix('JSON is malformed: ')}{hint}"
    )


def _first_bad_byte(body: bytes) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start} is {body[error.start]:#04x}"
    return "a byte is invalid"
