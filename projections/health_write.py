"""The statements that write `HealthRows`, inside the caller's transaction."""

from __future__ import annotations

from typing import Any

from projections.alert_write import insert_rows, replace_rows
from projections.health_rows import HealthRows


def write_health(db: Any, rows: HealthRows) -> None:
    """History is added; of each target the newest row stands."""
    for table, inserted in rows.inserted.items():
        insert_rows(db, table, inserted)
    for table, replaced in rows.replaced.items():
        replace_rows(db, table, "target", replaced)
