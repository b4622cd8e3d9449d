"""How much random testing: as usual, or more where time is no matter (``.ci/nightly``)."""

from __future__ import annotations

import os
from typing import Final

UNTRACED: Final = {"COVERAGE_PROCESS_CONFIG": ""}
"""For the environment of a process that is killed, or asked ten thousand things: it tells coverage
nothing new, and takes half the time."""

MORE = int(os.environ.get("EXAMPLES_FACTOR", "1"))


def examples(usual: int) -> int:
    """The number of examples of a Hypothesis test that tries ``usual`` ones in a short run."""
    return usual * MORE
