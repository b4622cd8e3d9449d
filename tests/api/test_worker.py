"""The ``worker`` command: what it asks for, and what it tells of itself."""

from __future__ import annotations

from pathlib import Path

import httpx

from streams.events.topics import POINTS
from tests.api.processes import run
from tests.flow.kafka_fleet import Child, until

FAR_S = 60.0


def test_a_worker_without_kafka_says_what_to_set() -> None:
    ended = run("worker")
    assert ended.returncode == 1
    assert "KAFKA_BOOTSTRAP_SERVERS is not set" in ended.stderr
    assert "`serve` runs them itself" in ended.stderr


def test_the_help_says_how_many_to_start_and_what_it_answers() -> None:
    told = " ".join(run("worker", "--help").stdout.split())
    for words in ("--scale worker=3", "/ready", "KAFKA_PARTITIONS", "exit code 1"):
        assert words in told


def test_brokers_that_are_not_there_are_one_sentence(tmp_path: Path) -> None:
    child = Child("worker", ["worker"], {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, tmp_path)
    child.start()
    try:
        until(lambda: answers(child), FAR_S, "it does not answer")
        answer = httpx.get(f"{child.url}/ready", timeout=5)
        assert answer.status_code == 503
        assert answer.json()["reasons"] == ["Kafka has not answered yet"]
    finally:
        assert child.stop(15) == 0, child.tail()


def test_a_worker_tells_its_lag_by_topic_and_partition(
    tmp_path: Path, kafka: str, kafka_prefix: str
) -> None:
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_TOPIC_PREFIX": kafka_prefix,
        "KAFKA_PARTITIONS": "2",
        "INGEST_TOPICS": f"from-{kafka_prefix}till=json",
    }
    child = Child("worker", ["worker"], settings, tmp_path)
    child.start()
    try:
        until(child.is_ready, FAR_S, "it is not ready")
        told = httpx.get(f"{child.url}/ready", timeout=5).json()
        page = httpx.get(f"{child.url}/metrics", timeout=5).text
        assert httpx.get(f"{child.url}/health", timeout=5).json()["status"] == "alive"
    finally:
        assert child.stop(15) == 0, child.tail()
    assert told["reasons"] == []
    lags = {(one["processor"], one["topic"], one["partition"]): one for one in told["lag"]}
    for number in (0, 1):
        assert lags["windows", POINTS, number]["records"] >= 0
        assert lags["ingest", f"from-{kafka_prefix}till", number]["records"] == 0
    sample = 'logfire_mcp_processor_lag_records{partition="1",processor="windows",topic='
    assert f'{sample}"metrics.points"}}' in page


def answers(child: Child) -> bool:
    try:
        return httpx.get(f"{child.url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
