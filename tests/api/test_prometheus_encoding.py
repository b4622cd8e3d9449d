"""Numbers in an answer read back the same, whatever they are."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_api.prometheus_api.encoding import encode_answer, number_text
from streams.promql.answer import Answer

ODD = [0.0, -0.0, 1e-5, 1e15, 1e16, 1e21, 1e-7, math.inf, -math.inf, math.nan, 0.1, -7.0]


@given(st.lists(st.floats(), min_size=1, max_size=20))
@example(ODD)
def test_samples_are_told_as_single_numbers_are(values: list[float]) -> None:
    count = len(values)
    at_ms = 1_000 * np.arange(count, dtype=np.int64)
    offsets = np.array([0, count])
    answer = Answer("matrix", ((("a", "b"),),), offsets, at_ms, np.array(values), "", (), ())
    (series,) = json.loads(encode_answer(answer, 0).data)["result"]
    assert series["values"] == [[at, number_text(v)] for at, v in enumerate(values)]
    read = np.array([float(text) for _, text in series["values"]])
    assert np.array_equal(read, np.array(values), equal_nan=True)
