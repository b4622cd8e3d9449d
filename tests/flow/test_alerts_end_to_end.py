"""Alerts of a real server through kill -9: the ledger goes on, and is what a replay gives.

``ALERT_KILL_ROUNDS`` (default 4) rounds.
"""

from __future__ import annotations

import os
import random
from contextlib import closing
from functools import partial
from pathlib import Path

from streams.config import LOG_FILE
from streams.log.sqlite_log import SqliteLog
from tests.api.processes import quick_settings, run, serving
from tests.flow.alert_ledger import (
    call,
    collect,
    each_processor_gives_again_what_the_log_holds,
    events,
    ledger,
    state,
)
from tests.flow.kafka_fleet import until

ROUNDS = int(os.environ.get("ALERT_KILL_ROUNDS", "4"))
FAR_S = 60.0
RULE = {
    "name": "High load",
    "condition": "load > 80",
    "severity": "high",
    "for": "2s",
    "annotations": {"summary": "{{ $labels.host }} is at {{ $value }}"},
}


def reaches(url: str, *states: str) -> None:
    """Waits until the rule is in one of the states, with a busy host and a calm one."""

    def there() -> bool:
        collect(url, {"a": 90.0, "b": 10.0})
        return state(url, "High load") in states

    until(there, FAR_S, f"High load is {states}")


def test_the_ledger_outlives_kills_and_is_what_a_replay_of_the_log_gives(tmp_path: Path) -> None:
    chance = random.Random(ROUNDS)
    with serving(tmp_path) as (process, found):
        assert call(found.url, "create_alert", **RULE)["status"] == "success"
        before = ledger(found.url, "High load")
        process.kill()
        process.wait()
    for _ in range(ROUNDS):
        with serving(tmp_path) as (process, found):
            after = ledger(found.url, "High load")
            assert after[: len(before)] == before
            if chance.random() < 0.5:
                until(partial(calm, found.url), FAR_S, "it resolves")
            reaches(found.url, *chance.choice([("firing",), ("pending", "firing")]))
            before = ledger(found.url, "High load")
            process.kill()
            process.wait()
    with serving(tmp_path) as (_, found):
        assert ledger(found.url, "High load")[: len(before)] == before
        reaches(found.url, "firing")
        assert run("verify", "--data-dir", str(tmp_path)).returncode == 0
        told = ledger(found.url, "High load")
        assert run("rebuild", "--data-dir", str(tmp_path)).returncode == 0
        assert ledger(found.url, "High load")[: len(told)] == told
    with closing(SqliteLog.open(tmp_path / LOG_FILE, read_only=True)) as log:
        each_processor_gives_again_what_the_log_holds(log, quick_settings(tmp_path))


def test_an_alert_fires_resolves_and_fires_anew(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, found):
        url = found.url
        call(url, "create_alert", **{**RULE, "for": "0s"})
        reaches(url, "firing")
        until(partial(calm, url), FAR_S, "it resolves")
        reaches(url, "firing")
        assert events(url, "High load").count("fired") == 2
        assert events(url, "High load").count("resolved") == 1


def calm(url: str) -> bool:
    collect(url, {"a": 1.0})
    return state(url, "High load") == "inactive"


def test_rules_go_in_and_out_as_files(tmp_path: Path) -> None:
    file = tmp_path / "some.rules.yml"
    file.write_text(RULE_FILE)
    folder = str(tmp_path / "data")
    with serving(tmp_path / "data") as (_, _found):
        ended = run("rules", "import", str(file), "--data-dir", folder)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == "2 rules: 2 created.\n"
        again = run("rules", "import", str(file), "--data-dir", folder)
        assert again.stdout == "2 rules: 2 unchanged.\n"
        file.write_text(RULE_FILE.replace("> 0.9", "> 0.8"))
        changed = run("rules", "import", str(file), "--data-dir", folder)
        assert changed.stdout == "2 rules: 1 unchanged, 1 updated.\n"
        for what in ("list", "export"):
            told = run("rules", what, "--data-dir", folder)
            assert told.returncode == 0
            assert "NodeDiskFull" in told.stdout
            assert "0.8" in told.stdout


RULE_FILE = """
groups:
  - name: node
    interval: 30s
    rules:
      - alert: NodeDiskFull
        expr: disk_used / disk_size > 0.9
        for: 5m
        labels: {severity: warning, team: infra}
        annotations: {summary: "{{ $labels.host }} is full"}
      - record: host:load:avg
        expr: avg by (host) (load)
"""
