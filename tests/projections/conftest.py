"""A real log and projection in a folder of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from projections.duck import DuckProjection
from projections.projector import Projector
from streams.log.sqlite_log import SqliteLog
from tests.projections.making import open_log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    log = open_log(tmp_path)
    yield log
    log.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.duckdb"


@pytest.fixture
def projection(log: SqliteLog, path: Path) -> Iterator[DuckProjection]:
    projection = DuckProjection.open(path, log)
    yield projection
    projection.close()


@pytest.fixture
def projector(log: SqliteLog, path: Path) -> Iterator[Projector]:
    projector = Projector(log, path)
    projector.start()
    yield projector
    projector.stop(20.0)
