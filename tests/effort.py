"""How much random testing: as usual, or more where time is no matter (``.ci/nightly``)."""

from __future__ import annotations

import os

MORE = int(os.environ.get("EXAMPLES_FACTOR", "1"))


def examples(usual: int) -> int:
    """The number of examples of a Hypothesis test that tries ``usual`` ones in a short run."""
    return usual * MORE
