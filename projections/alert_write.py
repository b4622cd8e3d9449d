"""The statements that write `AlertRows`, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from projections.alert_rows import AlertRows, Row


def write_alerts(db: Any, rows: AlertRows) -> None:
    """Inserts come first: what changes may be among them."""
    for table, inserted in rows.inserted.items():
        insert_rows(db, table, inserted)
    replace_rows(db, "rules", "rule_id", rows.rules)
    replace_rows(db, "alerts", "fingerprint", _with_begins(db, rows.alerts))
    _update(db, "silences", "silence_id", list(rows.silences.values()))
    _update(db, "notifications", "notification_id", list(rows.notifications.values()))


def _with_begins(db: Any, rows: Mapping[str, Row | None]) -> dict[str, Row | None]:
    """The rows, without ``carries``: those that have it take over where their episode began and
    when it first fired."""
    carrying = [row for row in rows.values() if row is not None and row["carries"]]
    begins: dict[str, Row] = {}
    if carrying:
        db.register("incoming", pa.Table.from_pylist(carrying))
        found = db.sql(
            """SELECT fingerprint, coalesce(alerts.began, incoming.began) AS began,
                coalesce(nullif(alerts.fired_ms, 0), incoming.fired_ms) AS fired_ms
            FROM incoming LEFT JOIN alerts USING (fingerprint)"""
        ).to_arrow_table()
        db.unregister("incoming")
        begins = {row["fingerprint"]: row for row in found.to_pylist()}
    return {
        fingerprint: None
        if row is None
        else {name: value for name, value in row.items() if name != "carries"}
        | begins.get(fingerprint, {})
        for fingerprint, row in rows.items()
    }


def replace_rows(db: Any, table: str, key: str, rows: Mapping[str, Row | None]) -> None:
    """The row that now stands for each key; None: none any more."""
    if not rows:
        return
    db.register("incoming", pa.table({key: list(rows)}))
    db.execute(f"DELETE FROM {table} WHERE {key} IN (FROM incoming)")  # noqa: S608
    db.unregister("incoming")
    if standing := [row for row in rows.values() if row is not None]:
        insert_rows(db, table, standing)


def insert_rows(db: Any, table: str, rows: Sequence[Row]) -> None:
    """At least one."""
    db.register("incoming", pa.Table.from_pylist(rows))
    db.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")  # noqa: S608
    db.unregister("incoming")


def _update(db: Any, table: str, key: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    names = [name for name in rows[0] if name not in (key, "log_offset")]
    columns = ", ".join(f"{name} = incoming.{name}" for name in names)
    db.register("incoming", pa.Table.from_pylist(rows))
    db.execute(
        f"UPDATE {table} SET {columns} FROM incoming WHERE {table}.{key} = incoming.{key} "  # noqa: S608
        f"AND {table}.log_offset < incoming.log_offset"
    )
    db.unregister("incoming")
