"""The tables of all functions that the evaluation calls by name.

``label_replace`` and the like get evaluated arguments as every other one. What needs more than its
arguments is not here: ``absent_over_time`` (`absent` of the windows' presence), ``info`` (reads the
source) and ``timestamp`` of a selector (the sample's own time).
"""

from __future__ import annotations

from collections.abc import Mapping

from streams.promql.frames import Entry, VectorFunction
from streams.promql.functions_histogram import HISTOGRAM_FUNCTIONS
from streams.promql.functions_labels import LABEL_FUNCTIONS
from streams.promql.functions_math import MATH_FUNCTIONS
from streams.promql.functions_over_time import OVER_TIME_FUNCTIONS
from streams.promql.functions_rate import RATE_FUNCTIONS
from streams.promql.functions_regression import REGRESSION_FUNCTIONS
from streams.promql.functions_time import TIME_FUNCTIONS
from streams.promql.functions_vector import VECTOR_ONLY_FUNCTIONS

RANGE_FUNCTIONS: Mapping[str, Entry] = {
    **OVER_TIME_FUNCTIONS,
    **RATE_FUNCTIONS,
    **REGRESSION_FUNCTIONS,
}

VECTOR_FUNCTIONS: Mapping[str, VectorFunction] = {
    **HISTOGRAM_FUNCTIONS,
    **LABEL_FUNCTIONS,
    **MATH_FUNCTIONS,
    **TIME_FUNCTIONS,
    **VECTOR_ONLY_FUNCTIONS,
}
