"""The chart: a picture of the lines that the numbers describe, whatever the numbers are."""

from __future__ import annotations

import io
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mcp_api.tools.chart import HEIGHT, WIDTH, Line, draw_chart
from tests.api.tools_rig import NOW_MS, open_rig, waves
from tests.effort import examples

MINUTE_MS = 60_000


def _picture(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.size == (WIDTH, HEIGHT)
    return image.convert("RGB")


def _blue(image: Image.Image) -> list[tuple[int, int]]:
    """Pixels of the first line's colour, above the legend."""
    pixels = image.load()
    assert pixels is not None
    found = []
    for x in range(WIDTH):
        for y in range(HEIGHT - 60):
            red, green, blue = pixels[x, y]
            if blue > 140 and red < 60 and green < 160:
                found.append((x, y))
    return found


def _drawn(values: list[float]) -> list[tuple[int, int]]:
    points = [(NOW_MS + i * MINUTE_MS, value) for i, value in enumerate(values)]
    end_ms = NOW_MS + len(values) * MINUTE_MS
    png = draw_chart("m", [Line("a", points)], start_ms=NOW_MS, end_ms=end_ms, step_ms=MINUTE_MS)
    return _blue(_picture(png))


def test_a_rising_line_rises() -> None:
    pixels = _drawn([float(i) for i in range(10)])
    left, right = min(pixels), max(pixels)
    assert left[0] < 200
    assert right[0] > 700
    assert left[1] > 280
    assert right[1] < 100


def test_a_value_that_is_no_number_interrupts_the_line() -> None:
    for hole in (math.nan, math.inf):
        columns = {x for x, _ in _drawn([1.0, 1.0, 1.0, hole, hole, hole, 1.0, 1.0, 1.0])}
        middle = (76 + WIDTH - 24) // 2
        assert not columns & set(range(middle - 40, middle + 40))
        assert min(columns) < middle < max(columns)


@settings(max_examples=examples(25), deadline=None)
@given(
    st.lists(st.floats(), max_size=5),
    st.integers(-(10**14), 10**15),
    st.integers(0, 10**12),
    st.text(max_size=30),
)
def test_any_numbers_times_and_names_make_a_picture(values, start_ms, span_ms, name) -> None:
    points = [(start_ms + i * MINUTE_MS, value) for i, value in enumerate(values)]
    png = draw_chart(
        name,
        [Line(name, points)] * 12,
        start_ms=start_ms,
        end_ms=start_ms + span_ms,
        step_ms=MINUTE_MS,
    )
    _picture(png)


async def test_a_query_brings_its_picture_if_it_is_asked_to(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("cpu", 3))
        asked = {"metric_name": "cpu", "group_by": ["host"]}
        with_chart = await rig.answer("query_metrics", **asked, chart=True)
        without = await rig.answer("query_metrics", **asked)
        empty = await rig.answer("query_metrics", metric_name="mem", chart=True)
    assert with_chart.image_png is not None
    assert _blue(_picture(with_chart.image_png))
    assert with_chart.content == without.content
    assert without.image_png is None
    assert empty.image_png is None
