"""The tables of the DuckDB file, and views for people who open a copy of it.

``points.value`` is NULL for Prometheus' staleness marker and nothing else, so SQL aggregates pass
over it; every other NaN is stored as one and the same. ``series_id`` is a surrogate of this file
only: a rebuilt file may number series otherwise. ``segment`` of a window row is the
offset of the event that told it: a window has one row for its `WindowClosed` and one for each
`WindowAmended`; the view ``windows_merged`` joins them. ``marks``: the number of the newest output
absorbed of each processor and partition.

``requests``: the row intervals absorbed of each keyed request, by digest of its key and partition
of the points' topic; ``minute`` (Unix minutes) and ``shard`` of its first sight, ``number`` in the
order of those. ``request_streams``, ``request_clocks``: the rest of `streams.domain.repeats.Seen`.
All three are empty where the log itself refuses repeats.

The tables about alerts (`ALERT_TABLES`) hold the facts of ``alerts.events`` as they were told, each
with its ``log_offset`` there. ``rules``, ``alerts``: what stands now; an inactive alert has no row.
``began``: the offset of the transition with which the alert's episode began. ``fired_ms``: when it
fired in this episode, 0 for never. ``rule``, ``silence``, ``fact``, ``labels``, ``annotations`` are
JSON. ``rule_ids``, ``fingerprints``: of the alerts that a notification names, one each.
``interruptions``: when no rule of a home partition was evaluated, since a partition (``source``) of
the points stayed behind, or since nothing ticked.

The tables about health (`HEALTH_TABLES`) come from ``health.results``, each target's from its own
partition. ``health_targets``, ``health_states``, ``health_last``: what stands now, one row a target
at most; ``health_changes``, ``health_checks``: all that was told, a check of an endpoint that is no
target with an empty ``target``; old checks are left out (`projections.health_rows.CHECKS_MAX`), and
still counted (``counters``). ``definition``, ``found`` are JSON.
"""

from __future__ import annotations

VERSION = 5

_ALERT_TABLES = (
    """CREATE TABLE rules (
        rule_id VARCHAR NOT NULL, name VARCHAR NOT NULL, version BIGINT NOT NULL,
        enabled BOOLEAN NOT NULL, changed_ms BIGINT NOT NULL, changed_by VARCHAR NOT NULL,
        rule VARCHAR NOT NULL)""",
    """CREATE TABLE rule_changes (
        log_offset BIGINT NOT NULL, rule_id VARCHAR NOT NULL, name VARCHAR NOT NULL,
        version BIGINT NOT NULL, change VARCHAR NOT NULL, at_ms BIGINT NOT NULL,
        actor VARCHAR NOT NULL, causation_id VARCHAR NOT NULL, rule VARCHAR NOT NULL)""",
    """CREATE TABLE alerts (
        fingerprint VARCHAR NOT NULL, rule_id VARCHAR NOT NULL, version BIGINT NOT NULL,
        name VARCHAR NOT NULL, severity VARCHAR NOT NULL, state VARCHAR NOT NULL,
        labels VARCHAR NOT NULL, annotations VARCHAR NOT NULL, value DOUBLE,
        active_ms BIGINT NOT NULL, since_ms BIGINT NOT NULL, began BIGINT NOT NULL,
        fired_ms BIGINT NOT NULL, reason VARCHAR NOT NULL, log_offset BIGINT NOT NULL)""",
    """CREATE TABLE transitions (
        log_offset BIGINT NOT NULL, fingerprint VARCHAR NOT NULL, rule_id VARCHAR NOT NULL,
        version BIGINT NOT NULL, name VARCHAR NOT NULL, severity VARCHAR NOT NULL,
        state_before VARCHAR NOT NULL, state_after VARCHAR NOT NULL, at_ms BIGINT NOT NULL,
        active_ms BIGINT NOT NULL, labels VARCHAR NOT NULL, annotations VARCHAR NOT NULL,
        value DOUBLE, reason VARCHAR NOT NULL, seen BIGINT[] NOT NULL,
        causation_id VARCHAR NOT NULL)""",
    """CREATE TABLE evaluations (
        log_offset BIGINT NOT NULL, rule_id VARCHAR NOT NULL, version BIGINT NOT NULL,
        kind VARCHAR NOT NULL, at_ms BIGINT NOT NULL, reason VARCHAR NOT NULL)""",
    """CREATE TABLE interruptions (
        log_offset BIGINT NOT NULL, home INTEGER NOT NULL, kind VARCHAR NOT NULL,
        source INTEGER, from_ms BIGINT NOT NULL, at_ms BIGINT NOT NULL)""",
    """CREATE TABLE alert_actions (
        log_offset BIGINT NOT NULL, rule_id VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL,
        kind VARCHAR NOT NULL, at_ms BIGINT NOT NULL, actor VARCHAR NOT NULL,
        comment VARCHAR NOT NULL)""",
    """CREATE TABLE notifications (
        log_offset BIGINT NOT NULL, notification_id VARCHAR NOT NULL, receiver VARCHAR NOT NULL,
        status VARCHAR NOT NULL, reason VARCHAR NOT NULL, at_ms BIGINT NOT NULL,
        labels VARCHAR NOT NULL, rule_ids VARCHAR[] NOT NULL, fingerprints VARCHAR[] NOT NULL,
        left_out BIGINT NOT NULL, outcome VARCHAR NOT NULL, outcome_ms BIGINT)""",
    """CREATE TABLE notification_attempts (
        log_offset BIGINT NOT NULL, notification_id VARCHAR NOT NULL, receiver VARCHAR NOT NULL,
        attempt BIGINT NOT NULL, kind VARCHAR NOT NULL, at_ms BIGINT NOT NULL,
        again BOOLEAN NOT NULL, detail VARCHAR NOT NULL, retry_ms BIGINT)""",
    """CREATE TABLE suppressions (
        log_offset BIGINT NOT NULL, rule_id VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL,
        at_ms BIGINT NOT NULL, cause VARCHAR NOT NULL, caused_by VARCHAR NOT NULL,
        reason VARCHAR NOT NULL)""",
    """CREATE TABLE silences (
        silence_id VARCHAR NOT NULL, log_offset BIGINT NOT NULL, at_ms BIGINT NOT NULL,
        actor VARCHAR NOT NULL, starts_ms BIGINT NOT NULL, ends_ms BIGINT NOT NULL,
        expired_ms BIGINT, expired_by VARCHAR NOT NULL, silence VARCHAR NOT NULL)""",
    """CREATE TABLE command_answers (
        causation_id VARCHAR NOT NULL, log_offset BIGINT NOT NULL, at_ms BIGINT NOT NULL,
        kind VARCHAR NOT NULL, fact VARCHAR NOT NULL)""",
)

ALERT_TABLES = tuple(statement.split()[2] for statement in _ALERT_TABLES)
"""Their names."""

_CHECK_COLUMNS = """(
        log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL, target VARCHAR NOT NULL,
        at_ms BIGINT NOT NULL, cause VARCHAR NOT NULL, latency_ms DOUBLE, found VARCHAR NOT NULL)"""
_CHANGE_COLUMNS = """(
        log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL, target VARCHAR NOT NULL,
        at_ms BIGINT NOT NULL, state_before VARCHAR NOT NULL, state_after VARCHAR NOT NULL,
        reason VARCHAR NOT NULL, suppressed_by VARCHAR NOT NULL)"""
_HEALTH_TABLES = (
    """CREATE TABLE health_targets (
        target VARCHAR NOT NULL, definition VARCHAR NOT NULL, registered_ms BIGINT NOT NULL,
        registered_by VARCHAR NOT NULL)""",
    f"CREATE TABLE health_states {_CHANGE_COLUMNS}",
    f"CREATE TABLE health_changes {_CHANGE_COLUMNS}",
    f"CREATE TABLE health_last {_CHECK_COLUMNS}",
    f"CREATE TABLE health_checks {_CHECK_COLUMNS}",
)

HEALTH_TABLES = tuple(statement.split()[2] for statement in _HEALTH_TABLES)
"""Their names."""

TABLES = (
    """CREATE TABLE meta (version INTEGER NOT NULL, log_id VARCHAR NOT NULL)""",
    """CREATE TABLE positions (
        topic VARCHAR NOT NULL, "partition" INTEGER NOT NULL, next_offset BIGINT NOT NULL,
        checksum BLOB NOT NULL, appended_ms BIGINT NOT NULL)""",
    """CREATE TABLE marks (
        processor VARCHAR NOT NULL, "partition" INTEGER NOT NULL, out_seq BIGINT NOT NULL)""",
    """CREATE TABLE requests (
        "partition" INTEGER NOT NULL, minute BIGINT NOT NULL, shard INTEGER NOT NULL,
        number BIGINT NOT NULL, key BLOB NOT NULL, rows BIGINT[] NOT NULL)""",
    """CREATE TABLE request_streams (
        "partition" INTEGER NOT NULL, key BLOB NOT NULL, number BIGINT NOT NULL,
        rows BIGINT[] NOT NULL, moved BIGINT NOT NULL)""",
    """CREATE TABLE request_clocks (
        "partition" INTEGER NOT NULL, newest_ms BIGINT NOT NULL, moves BIGINT NOT NULL)""",
    """CREATE TABLE counters (name VARCHAR NOT NULL, value BIGINT NOT NULL)""",
    """CREATE TABLE series (
        series_id INTEGER NOT NULL, text VARCHAR NOT NULL, name VARCHAR NOT NULL,
        labels MAP(VARCHAR, VARCHAR) NOT NULL, source VARCHAR NOT NULL,
        type VARCHAR NOT NULL, unit VARCHAR NOT NULL)""",
    """CREATE TABLE latest (series_id INTEGER NOT NULL, at_ms BIGINT, value DOUBLE)""",
    """CREATE TABLE points (
        series_id INTEGER NOT NULL, at_ms BIGINT NOT NULL, value DOUBLE)""",
    """CREATE TABLE windows (
        series_id INTEGER NOT NULL, size_ms BIGINT NOT NULL, start_ms BIGINT NOT NULL,
        segment BIGINT NOT NULL, count BIGINT NOT NULL, sum DOUBLE NOT NULL,
        min DOUBLE NOT NULL, max DOUBLE NOT NULL, first DOUBLE NOT NULL, last DOUBLE NOT NULL,
        first_ms BIGINT NOT NULL, last_ms BIGINT NOT NULL, increase DOUBLE NOT NULL,
        bins INTEGER[] NOT NULL, bin_counts BIGINT[] NOT NULL)""",
    *_ALERT_TABLES,
    *_HEALTH_TABLES,
    """INSERT INTO counters VALUES ('duplicates', 0), ('poison', 0), ('repeats', 0),
        ('checks', 0)""",
)

VIEWS = (
    """CREATE VIEW samples AS
        SELECT name, labels, source, type, unit, TRY(make_timestamp_ms(at_ms)) AS sampled_at, value,
            at_ms, series_id
        FROM points JOIN series USING (series_id)""",
    """CREATE VIEW latest_samples AS
        SELECT name, labels, source, type, unit, TRY(make_timestamp_ms(at_ms)) AS sampled_at, value,
            at_ms, series_id
        FROM latest JOIN series USING (series_id)""",
    # As `streams.domain.windows.merge`: increases join at the seam where segments lie apart in
    # time; of those that overlap the largest stays, a lower bound.
    """CREATE VIEW windows_merged AS
        WITH told AS (
            SELECT *, first_ms > max(last_ms) OVER before AS apart,
                arg_max(last, last_ms) OVER before AS last_before
            FROM windows
            WINDOW before AS (
                PARTITION BY series_id, size_ms, start_ms ORDER BY first_ms, segment
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
        numbered AS (
            SELECT *, count(*) FILTER (WHERE apart) OVER (
                PARTITION BY series_id, size_ms, start_ms ORDER BY first_ms, segment) AS island
            FROM told),
        islands AS (
            SELECT series_id, size_ms, start_ms, count(*) AS segments, sum(count) AS count,
                sum(sum) AS sum, min(min) AS min, max(max) AS max,
                arg_min(first, (first_ms, segment)) AS first,
                arg_max(last, (last_ms, -segment)) AS last,
                min(first_ms) AS first_ms, max(last_ms) AS last_ms,
                max(increase) + coalesce(sum(CASE
                    WHEN first < last_before AND NOT isnan(last_before) THEN first
                    ELSE first - last_before END) FILTER (WHERE apart), 0) AS increase
            FROM numbered GROUP BY series_id, size_ms, start_ms, island)
        SELECT series_id, size_ms, start_ms, sum(segments)::BIGINT AS segments,
            sum(count)::BIGINT AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max,
            arg_min(first, first_ms) AS first, arg_max(last, last_ms) AS last,
            min(first_ms) AS first_ms, max(last_ms) AS last_ms, sum(increase) AS increase
        FROM islands GROUP BY series_id, size_ms, start_ms""",
)
