"""The seed's benchmarks: `validate --load-test` measures each on the user's machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.test_validate import Checks, measured


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Checks:
    folder: Path = tmp_path_factory.mktemp("load")
    checks = measured(folder / "mine")
    assert not (folder / "mine").exists(), "it has a directory of its own"
    return checks


@pytest.mark.parametrize(
    ("name", "promised_ms"),
    [
        ("1,000 metrics collected", 100),
        ("5 MCP servers checked", 2_000),
        ("100 alert rules evaluated", 50),
        ("24 h queried", 1_000),
        ("10 MB exported", 5_000),
    ],
)
def test_a_benchmark_is_measured_beside_its_promise(
    load: Checks, name: str, promised_ms: int
) -> None:
    """“< 100ms for 1000 metrics”, “< 2 seconds for all MCP servers”, “< 50ms for 100 alerts”,
    “< 1 second for 24h of data”, “< 5 seconds for 10MB of data”."""
    data: dict[str, Any] = load["load test", name]["data"]
    assert data["promised_ms"] == promised_ms
    assert 0 < data["median_ms"] <= data["longest_ms"]
