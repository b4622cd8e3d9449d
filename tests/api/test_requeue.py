"""Dead letters of the embedded log: shown as lines, corrected, sent again; bad lines say why."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streams.events.catalogue import DeadLettered, Envelope, Event, MetricsCollected
from streams.events.codec import encode
from streams.events.topics import DEADLETTER, POINTS
from streams.ingest.samples import Sample, as_request
from streams.log.protocol import Append, Entry, Message
from streams.log.sqlite_log import SqliteLog
from tests.api.processes import Ended, run
from tests.flow.ingesting import samples

NOW_MS = 1_700_000_000_000
BATCH = as_request("shop", [Sample("m", 1.5, NOW_MS)]).batch
GOOD = encode(Event(Envelope("id", "edge", NOW_MS), MetricsCollected(BATCH)))


def dead_letter(body: bytes, headers: dict[str, str]) -> Entry:
    letter = DeadLettered(POINTS, 0, 7, "not Arrow", headers, body)
    envelope = Envelope("windows/0/0", "processor/windows", NOW_MS)
    return Entry(DEADLETTER, 0, encode(Event(envelope, letter)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory with a dead letter whose type was misspelt, and one that is none."""
    headers = {**GOOD.headers, "ce_type": "metrics.colected.v1", "slices": '[["k",0,1,0]]'}
    with closing(SqliteLog.open(tmp_path / "logfire_mcp.db")) as log:
        poison = Entry(DEADLETTER, 0, Message({"x": "y"}, b"poison"))
        log.submit(Append((dead_letter(GOOD.body, headers), poison))).result()
    return tmp_path


def lines(folder: Path) -> list[dict[str, Any]]:
    shown = run("tail", "--dead", "--json", "--no-follow", "--data-dir", str(folder))
    assert shown.returncode == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


def requeue(folder: Path, *told: dict[str, Any] | str, dry_run: bool = False) -> Ended:
    file = folder / "dead.jsonl"
    texts = [one if isinstance(one, str) else json.dumps(one) for one in told]
    file.write_text("\n".join(texts) + "\n")
    more = ["--dry-run"] if dry_run else []
    return run("requeue", *more, "--data-dir", str(folder), str(file))


def stored(folder: Path) -> dict[Any, list[float]]:
    with closing(SqliteLog.open(folder / "logfire_mcp.db", read_only=True)) as log:
        return samples(log)


def test_dead_letters_are_lines_for_people_and_lines_for_requeue(folder: Path) -> None:
    shown = run("tail", "--dead", "--no-follow", "--data-dir", str(folder)).stdout
    assert "dead letter of metrics.points/0@7: not Arrow" in shown
    assert "poison: " in shown
    letter, poison = lines(folder)
    assert (letter["topic"], letter["partition"], letter["offset"]) == (POINTS, 0, 7)
    assert (letter["reason"], letter["time"]) == ("not Arrow", "2023-11-14T22:13:20.000Z")
    assert base64.b64decode(letter["body_base64"]) == GOOD.body
    assert (poison["topic"], poison["body"]) == (DEADLETTER, "poison")
    assert run("tail", "--json", "--data-dir", str(folder)).returncode == 2


def test_a_corrected_event_is_sent_again(folder: Path) -> None:
    letter, _ = lines(folder)
    assert "metrics.colected.v1" in requeue(folder, letter).stderr
    letter["headers"]["ce_type"] = "metrics.collected.v1"
    tried = requeue(folder, letter, dry_run=True)
    assert "line 1: 1 points to metrics.points" in tried.stdout
    assert "1 would be sent, 0 refused" in tried.stdout
    assert stored(folder) == {}
    ended = requeue(folder, letter)
    assert ended.returncode == 0, ended.stderr
    assert "line 1: 1 points to metrics.points/0@0" in ended.stdout
    assert stored(folder) == {("m", "shop", NOW_MS): [1.5]}


def test_points_can_be_written_as_json_instead(folder: Path) -> None:
    point = {"name": "n", "value": 2, "metric_type": "gauge"}
    body = json.dumps({"source": "hand", "metrics": [point]})
    line = {"topic": POINTS, "body": body, "time": "2023-11-14T22:13:20Z"}
    assert requeue(folder, line).returncode == 0
    assert stored(folder) == {("n", "hand", NOW_MS): [2.0]}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "none of `tail --dead --json`"),
        ('{"topic": 5, "body": ""}', "none of `tail --dead --json`"),
        ('{"topic": "metrics.points", "bdy": ""}', "bdy"),
        ('{"topic": "metrics.points"}', "body (text) or body_base64"),
        ('{"topic": "metrics.points", "body": "", "body_base64": ""}', "one of them"),
        ('{"topic": "metrics.points", "body_base64": "?"}', "cannot be read"),
        ('{"topic": "metrics.points", "body": "", "time": "noon"}', "cannot be read"),
        ('{"topic": "metrics.points", "body": "", "partition": -1}', "partition is -1"),
        ('{"topic": "metrics.points", "body": "{}"}', "source is missing"),
        (json.dumps({"topic": POINTS, "body": '{"source": "x", "metrics": [1]}'}), "point 0: "),
        (json.dumps({"topic": POINTS, "body": '{"source": "x", "metrics": []}'}), "no point in it"),
        ('{"topic": "shop", "body": "{}"}', "valid: metrics.points (INGEST_TOPICS)"),
        ('{"topic": "deadletter", "body": "poison"}', "takes nothing"),
    ],
)  # fmt: skip
def test_a_line_that_would_be_refused_is_not_sent(folder: Path, line: str, why: str) -> None:
    ended = requeue(folder, "", line)
    assert ended.returncode == 1
    assert why in ended.stderr
    assert "line 2: " in ended.stderr
    assert "0 sent, 1 refused" in ended.stdout
    assert stored(folder) == {}


def test_while_the_server_runs_nothing_is_sent(folder: Path) -> None:
    point = {"name": "n", "value": 2, "metric_type": "gauge"}
    body = json.dumps({"source": "hand", "metrics": [point]})
    with closing(SqliteLog.open(folder / "logfire_mcp.db")):
        ended = requeue(folder, {"topic": POINTS, "body": body})
    assert ended.returncode == 1
    assert "Error" in ended.stderr
    assert stored(folder) == {}
