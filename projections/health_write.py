"""The statements that write `HealthRows`, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from projections.alert_write import insert_rows, replace_rows
from projections.health_rows import CHECKS_MAX, PARTITION_CHECKS_MAX, HealthRows

_THIN_OUT = """
    WITH told AS (
        SELECT log_offset, row_number() OVER (PARTITION BY target ORDER BY log_offset DESC) AS nth
        FROM health_checks WHERE log_partition = $partition AND log_offset < $before),
    kept AS (
        SELECT log_offset FROM told WHERE nth <= $most ORDER BY log_offset DESC LIMIT $most_of_all)
    DELETE FROM health_checks WHERE log_partition = $partition AND log_offset < $before
        AND log_offset NOT IN (FROM kept)"""


def write_health(db: Any, rows: HealthRows, checks_before: Mapping[int, int]) -> None:
    """History is added; of each target the newest row stands. ``checks_before``: by partition the
    offset before which only the newest checks stay; whether they are thinned out there first, or
    only at a later offset, comes to the same."""
    for table, inserted in rows.inserted.items():
        insert_rows(db, table, inserted)
    for table, replaced in rows.replaced.items():
        replace_rows(db, table, "target", replaced)
    for partition, before in checks_before.items():
        asked = {"partition": partition, "before": before, "most": CHECKS_MAX}
        db.execute(_THIN_OUT, asked | {"most_of_all": PARTITION_CHECKS_MAX})
