"""Windows and samples as InfluxDB line protocol, from columns. Pure.

https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/ The measurement is the
metric's name, tags are its labels, times are Unix nanoseconds. A label that has the name of a tag
of ours or one that InfluxDB keeps for itself gets ``exported_`` before it.

- A sample: the field ``value``.
- A window: the fields ``count``, ``sum``, ``min``, ``max``, ``first``, ``last``, ``increase``, the
  tag ``window`` with its seconds, at its start. Samples that came after it was closed are a row of
  their own, tagged ``amended=true``, at the time of the first of them: rows of one window merge by
  ``sum`` of counts and sums, ``min`` of minima, ``max`` of maxima.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from streams.events.batch import Floats, Ints, MetricBatch
from streams.events.labels import parse_series
from streams.events.window import WindowBatch

FIELDS: Final = ("sum", "min", "max", "first", "last", "increase")
TIME_MS_MAX: Final = 9_223_372_036_854
"""What 64 bits hold as nanoseconds: the years 1678 to 2262."""

_RESERVED = frozenset({"window", "amended", "time", "_field", "_measurement"})
_LINE_ENDS = re.compile(r"[\r\n]+")


def window_lines(
    windows: WindowBatch, amended: np.typing.NDArray[np.bool_] | bool
) -> tuple[list[str], int]:
    """A line a row, and how many rows cannot be written. ``amended``: of all rows or of each.

    NaN and infinities have no text there: such a field is left out, ``count`` is always there.
    """
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    late = np.broadcast_to(np.asarray(amended, dtype=np.bool_), (len(windows),))
    at_ms = np.where(late, windows.first_ms, windows.start_ms)
    fits = _fits(at_ms)
    tags = f",window={windows.size_ms / 1000:g}"
    ends = (f"{tags} count=", f"{tags},amended=true count=")
    heads = pa.array(
        [
            series_head(text) + ends[one]
            for text, one in zip(windows.labels, late.tolist(), strict=True)
        ],
        pa.utf8(),
    )
    fields = [_field(name, getattr(windows, name)) for name in FIELDS]
    counts = pa.array(windows.count).cast(pa.utf8())
    lines = pc.binary_join_element_wise(heads, counts, "i", *fields, " ", _time(at_ms), "")
    return lines.filter(pa.array(fits)).to_pylist(), int(len(fits) - fits.sum())


def point_lines(batch: MetricBatch) -> tuple[list[str], int]:
    """A line a sample, and how many cannot be written: NaN, infinities, times out of range."""
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    fits = _fits(batch.at_ms) & np.isfinite(batch.value)
    heads = pa.array([f"{series_head(text)} value=" for text in batch.labels], pa.utf8())
    rows = pc.binary_join_element_wise(
        heads.take(pa.array(batch.series[fits])),
        pa.array(batch.value[fits]).cast(pa.utf8()),
        " ",
        _time(batch.at_ms[fits]),
        "",
    )
    return rows.to_pylist(), int(len(fits) - fits.sum())


@lru_cache(maxsize=100_000)
def series_head(text: str) -> str:
    """Measurement and tags of a series' identity.

    >>> series_head('{"__name__":"cpu load","host":"a,b"}')
    'cpu\\\\ load,host=a\\\\,b'
    """
    name, labels = parse_series(text)
    named = {f"exported_{key}" if key in _RESERVED else key: labels[key] for key in labels}
    return line_head(name, named)


def line_head(measurement: str, tags: Mapping[str, str]) -> str:
    """Both escaped, tags by name. A line end becomes a blank, a trailing backslash gets a blank
    after it: neither can be written."""
    head = _escaped(measurement, ", ")
    if head.startswith("#"):  # else the line is a comment
        head = "\\" + head
    return head + "".join(
        f",{_escaped(key, ',= ')}={_escaped(value, ',= ')}" for key, value in sorted(tags.items())
    )


def _escaped(text: str, special: str) -> str:
    text = _LINE_ENDS.sub(" ", text)
    told = "".join("\\" + c if c in special else c for c in text)
    # A backslash at the end would escape the comma, blank or sign that follows.
    return told + "\\ " if told.endswith("\\") else told


def _fits(at_ms: Ints) -> np.typing.NDArray[np.bool_]:
    fits: np.typing.NDArray[np.bool_] = (at_ms <= TIME_MS_MAX) & (at_ms >= -TIME_MS_MAX)
    return fits


def _field(name: str, values: Floats) -> Any:
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    texts = pc.binary_join_element_wise(f",{name}=", pa.array(values).cast(pa.utf8()), "")
    return texts if np.isfinite(values).all() else pc.if_else(np.isfinite(values), texts, "")


def _time(at_ms: Ints) -> Any:
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    # Milliseconds with six zeros behind are nanoseconds.
    return pc.binary_join_element_wise(pa.array(at_ms).cast(pa.utf8()), "000000", "")
