"""A line chart as PNG, drawn with Pillow: for people, and for models that can look."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from PIL import Image, ImageDraw, ImageFont

from mcp_api.tools.values import short_number

WIDTH, HEIGHT = 880, 440
LINES_MAX = 10

_SCALE = 2  # drawn twice as large and shrunk: Pillow's lines have no smooth edges of their own
_LEFT, _RIGHT, _TOP, _AXIS, _LEGEND_ROW = 76, 24, 44, 34, 20
_COLOURS = (  # Okabe and Ito's, which the colour-blind can tell apart, and three more
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a"),
    *("#555555", "#8c564b", "#b5bd00"),
)
_INK, _GREY, _GRID = "#222222", "#666666", "#e2e2e2"
_TIME_STEPS_S = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600),
    *(43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000),
)
_MS_MIN, _MS_MAX = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999


@dataclass(frozen=True, slots=True)
class Line:
    """One group: what the legend calls it, and ``(Unix ms, value)`` in order of time."""

    name: str
    points: Sequence[tuple[int, float]]


def draw_chart(
    title: str, lines: Sequence[Line], *, start_ms: int, end_ms: int, step_ms: int
) -> bytes:
    """A PNG of 880 × 440 pixels: title, axes with units and times (UTC), at most ten lines.

    A step without samples, or whose value is no finite number, interrupts its line.
    """
    drawn = lines[:LINES_MAX]
    legend = [line.name for line in drawn]
    if len(lines) > LINES_MAX:
        legend.append(f"and {len(lines) - LINES_MAX} more")
    rows = math.ceil(len(legend) / 2)
    image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), "white")
    pen = _Pen(ImageDraw.Draw(image))
    finite = [v for line in drawn for _, v in line.points if math.isfinite(v)]
    from_ms = min(max(start_ms, _MS_MIN), _MS_MAX - 1)
    frame = _Frame(
        from_ms,
        max(min(end_ms, _MS_MAX), from_ms + 1),
        _value_ticks(min(finite, default=0.0), max(finite, default=1.0)),
        HEIGHT - _AXIS - rows * _LEGEND_ROW - 8,
    )
    pen.text(_LEFT, 14, title[:110], 15, _INK)
    _draw_axes(pen, frame)
    for line, colour in zip(drawn, _COLOURS, strict=False):
        _draw_line(pen, frame, line, step_ms, colour)
    for index, name in enumerate(legend):
        x = _LEFT + (index % 2) * (WIDTH - _LEFT) // 2
        y = HEIGHT - rows * _LEGEND_ROW - 4 + index // 2 * _LEGEND_ROW
        if index < len(drawn):
            pen.line([(x, y + 8), (x + 20, y + 8)], _COLOURS[index], 5)
        pen.text(x + 28, y, name if len(name) <= 58 else name[:57] + "…", 12, _INK)
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.quantize(64).save(file, "PNG", optimize=True)
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a time and a value lie in the picture."""

    start_ms: int
    end_ms: int
    ticks: list[float]
    bottom: int

    def x(self, at_ms: float) -> float:
        share = (at_ms - self.start_ms) / (self.end_ms - self.start_ms)
        return _LEFT + min(max(share, 0.0), 1.0) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        # Halved, because the span of two large values may overflow.
        low, high = self.ticks[0] / 2, self.ticks[-1] / 2
        share = (value / 2 - low) / (high - low)
        return self.bottom - share * (self.bottom - _TOP)


class _Pen:
    """Draws in the picture's own pixels, whatever the scale."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: int) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, fill=colour, width=width, joint="curve")

    def dot(self, x: float, y: float, colour: str) -> None:
        box = (x * _SCALE - 4, y * _SCALE - 4, x * _SCALE + 4, y * _SCALE + 4)
        self._draw.ellipse(box, fill=colour)

    def text(
        self, x: float, y: float, text: str, size: int, colour: str, *, anchor: str = "la"
    ) -> None:
        # The built-in font is a vector font: no file of ours, no look-up in the system.
        font = ImageFont.load_default(size * _SCALE)
        plain = "".join(c if c.isprintable() else " " for c in text)
        self._draw.text((x * _SCALE, y * _SCALE), plain, fill=colour, font=font, anchor=anchor)


def _draw_axes(pen: _Pen, frame: _Frame) -> None:
    for value in frame.ticks:
        y = frame.y(value)
        pen.line([(_LEFT, y), (WIDTH - _RIGHT, y)], _GRID, 2)
        pen.text(_LEFT - 8, y, _value_label(value), 12, _GREY, anchor="rm")
    step_s, pattern = _time_step_s(frame.end_ms - frame.start_ms)
    first = -(-frame.start_ms // (step_s * 1_000)) * step_s
    for at_s in range(first, frame.end_ms // 1_000 + 1, step_s):
        x = frame.x(at_s * 1_000)
        pen.line([(x, frame.bottom), (x, frame.bottom + 5)], _GREY, 2)
        label = datetime.fromtimestamp(at_s, UTC).strftime(pattern)
        pen.text(x, frame.bottom + 8, label, 12, _GREY, anchor="ma")
    pen.line([(_LEFT, frame.bottom), (WIDTH - _RIGHT, frame.bottom)], _GREY, 2)
    day = datetime.fromtimestamp(frame.start_ms // 1_000, UTC).strftime("%Y-%m-%d")
    last = datetime.fromtimestamp(frame.end_ms // 1_000, UTC).strftime("%Y-%m-%d")
    span = f"{day}, UTC" if day == last else f"{day} to {last}, UTC"
    pen.text(WIDTH - _RIGHT, 18, span, 12, _GREY, anchor="ra")


def _draw_line(pen: _Pen, frame: _Frame, line: Line, step_ms: int, colour: str) -> None:
    stretch: list[tuple[float, float]] = []
    last_ms: int | None = None
    for at_ms, value in line.points:
        finite = math.isfinite(value)
        if not finite or (last_ms is not None and at_ms - last_ms > step_ms):
            _draw_stretch(pen, stretch, colour)
            stretch = []
        if finite:
            stretch.append((frame.x(at_ms + step_ms / 2), frame.y(value)))
        last_ms = at_ms
    _draw_stretch(pen, stretch, colour)


def _draw_stretch(pen: _Pen, stretch: list[tuple[float, float]], colour: str) -> None:
    if len(stretch) > 1:
        pen.line(stretch, colour, 4)
    elif stretch:
        pen.dot(*stretch[0], colour)


def _value_ticks(low: float, high: float) -> list[float]:
    """Four to eight round values that span both.

    >>> _value_ticks(0.3, 9.1)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    if high / 2 - low / 2 <= max(abs(low), abs(high)) * 1e-9:
        margin = abs(high) * 0.1 or 1.0
        low, high = low - margin, high + margin
    rough = (high / 2 - low / 2) / 2.5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [n * step for n in range(first, last + 1)]
    return [t for t in ticks if math.isfinite(t)]


def _value_label(value: float) -> str:
    size = abs(value)
    for limit, mark in ((1e15, ""), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            scale = {"": 1, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}[mark]
            return f"{value / scale:.6g}{mark}"
    return str(short_number(value)) if size >= 1e-12 else "0"


def _time_step_s(span_ms: int) -> tuple[int, str]:
    """Seconds between time labels, and how to write them: at most nine."""
    step_s = next((s for s in _TIME_STEPS_S if span_ms / 1_000 / s <= 8), span_ms // 8_000)
    if step_s < 60:
        return step_s, "%H:%M:%S"
    if span_ms <= 86_400_000:
        return step_s, "%H:%M"
    if span_ms <= 3 * 86_400_000:
        return step_s, "%d %b %H:%M" if step_s < 86_400 else "%d %b"
    return step_s, "%d %b" if span_ms < 300 * 86_400_000 else "%b %Y"
