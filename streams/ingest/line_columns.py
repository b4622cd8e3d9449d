"""Plain line protocol read by columns: no escapes, no strings, no comments, each line alike.

Some 0.3 µs a sample, where a line at a time takes over 1. Whatever is not plain gives None, and
then `line_syntax` decides: both give the same for what both take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streams.events.batch import Floats, Ints

Places = npt.NDArray[np.intp]

_NOT_PLAIN: Final = (
    *(b"\\", b'"', b"#", b"\t", b"\r", b"\x00"),  # one of these anywhere,
    *(b"  ", b" \n", b"\n ", b"\n\n", b" 0x", b" 0X"),  # blanks that join, what Arrow takes for hex
    b"=+",  # and for a number
)
_NUMBER_BYTES: Final = np.zeros(256, np.bool_)
_NUMBER_BYTES[list(b"0123456789.-+eEi")] = True
_TABLE_MAX: Final = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """``series``: distinct heads and fields, as written, in the order of their first samples.

    ``of_point``: for each sample its series; ``line``: its line, from 0 on; ``stamp``: one a line,
    None where no line has one.
    """

    heads: list[str]
    series: list[tuple[str, str]]
    of_point: Places
    line: Places
    value: Floats
    stamp: Ints | None


def read(body: bytes) -> Columns | None:
    """The samples of a plain body, or None."""
    if any(odd in body for odd in _NOT_PLAIN) or body.startswith((b" ", b"\n")):
        return None
    try:
        return _read(body)
    except (pa.ArrowException, ValueError):
        return None


def _read(body: bytes) -> Columns | None:
    table = _table(body)
    heads = table.column(0).combine_chunks()
    fields = table.column(1).combine_chunks()
    pairs, line = _split(fields)
    if pairs is None or line is None:
        return None
    keys = pairs.take(pa.array(np.arange(0, len(pairs), 2))).dictionary_encode()
    value = _numbers(pairs.take(pa.array(np.arange(1, len(pairs), 2))))
    if value is None:
        return None
    head_texts, key_texts = heads.dictionary.to_pylist(), keys.dictionary.to_pylist()
    if "" in key_texts or "" in head_texts:
        return None
    codes = heads.indices.to_numpy().astype(np.int64)[line] * len(key_texts)
    codes += keys.indices.to_numpy()
    distinct, of_point = _numbered(codes, len(head_texts) * len(key_texts))
    series = [
        (head_texts[head], key_texts[key])
        for head, key in zip(
            *(part.tolist() for part in divmod(distinct, len(key_texts))), strict=True
        )
    ]
    stamp = table.column(2).to_numpy() if table.num_columns == 3 else None
    return Columns(head_texts, series, of_point, line, value, stamp)


def _table(body: bytes) -> Any:
    """Head (dictionary), fields and, where the first line has it, the time of each line."""
    from pyarrow import csv  # late: an idle server does without

    with_stamp = body[: body.find(b"\n")].count(b" ") == 2
    types = {"head": pa.dictionary(pa.int32(), pa.utf8()), "fields": pa.utf8()}
    if with_stamp:
        types["stamp"] = pa.int64()
    return csv.read_csv(
        pa.py_buffer(body),
        read_options=csv.ReadOptions(
            column_names=list(types), use_threads=False, block_size=max(len(body), 1) + 1
        ),
        parse_options=csv.ParseOptions(delimiter=" ", quote_char=False, escape_char=False),
        convert_options=csv.ConvertOptions(
            column_types=types, null_values=[], strings_can_be_null=False
        ),
    )


def _split(fields: Any) -> tuple[Any | None, Places | None]:
    """Keys and values in turn, and for each pair the number of its line."""
    import pyarrow.compute as pc

    by_line = pc.split_pattern(fields, ",")
    flat = by_line.flatten()
    counts = np.diff(by_line.offsets.to_numpy())
    line = np.repeat(np.arange(len(fields)), counts)
    by_pair = pc.split_pattern(flat, "=")
    offsets = by_pair.offsets.to_numpy()
    if len(offsets) < 2 or not (np.diff(offsets) == 2).all():
        return None, None
    return by_pair.flatten(), line


def _numbers(texts: Any) -> Floats | None:
    """Floats and integers (``12i``); None where one is anything else."""
    import pyarrow.compute as pc

    start, stop = np.frombuffer(texts.buffers()[1], np.int32)[
        [texts.offset, texts.offset + len(texts)]
    ]
    written = np.frombuffer(texts.buffers()[2], np.uint8)[start:stop]
    if not _NUMBER_BYTES[written].all():
        return None
    marks = int((written == ord("i")).sum())
    if not marks:
        return _finite(texts.cast(pa.float64()).to_numpy())
    whole = pc.ends_with(texts, "i")
    if pc.sum(whole).as_py() != marks:
        return None
    bare = pc.ascii_rtrim(texts, "i")
    if marks == len(texts):
        return _finite(bare.cast(pa.int64()).to_numpy().astype(np.float64))
    mask = whole.to_numpy(zero_copy_only=False)
    value = np.empty(len(texts), np.float64)
    value[mask] = bare.filter(whole).cast(pa.int64()).to_numpy()
    value[~mask] = bare.filter(pc.invert(whole)).cast(pa.float64()).to_numpy()
    return _finite(value)


def _finite(value: Floats) -> Floats | None:
    return value if np.isfinite(value).all() else None


def _numbered(codes: Ints, size: int) -> tuple[Ints, Places]:
    """The distinct codes in the order of their first occurrence, and for each code its number."""
    if size > _TABLE_MAX:
        distinct, first, number = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(order), np.intp)
        rank[order] = np.arange(len(order))
        return distinct[order], rank[number]
    first_at = np.empty(size, np.intp)
    seen = np.zeros(size, np.bool_)
    first_at[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    seen[codes] = True
    distinct = np.flatnonzero(seen)
    distinct = distinct[np.argsort(first_at[distinct])]
    rank_of = np.empty(size, np.intp)
    rank_of[distinct] = np.arange(len(distinct))
    return distinct, rank_of[codes]
