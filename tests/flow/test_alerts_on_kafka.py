"""Alerts on a real Kafka: one rule over series of all partitions, with workers added and killed."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from streams.config import load_settings
from streams.events.labels import series_partition, series_text
from streams.log.kafka_log import KafkaLog
from tests.flow.alert_ledger import (
    call,
    collect,
    each_processor_gives_again_what_the_log_holds,
    events,
    state,
)
from tests.flow.kafka_fleet import Child, Supervisor, until

FAR_S = 120.0
PARTITIONS = 3
HOSTS = [f"web-{number}" for number in range(12)]
RULE = {
    "name": "Fleet is busy",
    "condition": "sum(load) > 100",
    "severity": "critical",
    "for": "0s",
}


def partitions_of(hosts: list[str]) -> set[int]:
    """Where the hosts' series live."""
    texts = (series_text("load", {"host": host, "source": "fleet"}) for host in hosts)
    return {series_partition(text, PARTITIONS) for text in texts}


def variables(kafka: str, prefix: str) -> dict[str, str]:
    """The settings of all processes."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_TOPIC_PREFIX": prefix,
        "KAFKA_PARTITIONS": str(PARTITIONS),
        "KAFKA_SESSION_TIMEOUT": "6",
        "TICK_INTERVAL": "8",  # a killed worker is replaced within two ticks: no outage
    }


def fleet(
    stack: ExitStack, tmp_path: Path, settings: dict[str, str]
) -> tuple[Child, list[Child], Supervisor]:
    """A node and three workers, of which only the first is started."""
    node = Child("node", ["serve"], settings, tmp_path)
    workers = [Child(f"worker-{number}", ["worker"], settings, tmp_path) for number in range(3)]
    supervisor = stack.enter_context(Supervisor([node, workers[0]]))
    for late in workers[1:]:
        stack.callback(late.stop)
    return node, workers, supervisor


def test_a_rule_over_all_partitions_fires_once_while_workers_come_and_are_killed(
    tmp_path: Path, kafka: str, kafka_prefix: str
) -> None:
    assert partitions_of(HOSTS) == set(range(PARTITIONS))
    with ExitStack() as stack:
        node, workers, supervisor = fleet(stack, tmp_path, variables(kafka, kafka_prefix))
        until(node.is_ready, FAR_S, "the node is not ready")
        made = call(node.url, "create_alert", **RULE)
        assert made["status"] in {"success", "pending"}

        def fires() -> bool:
            collect(node.url, dict.fromkeys(HOSTS, 10.0))  # 120 in all, 40 or so a partition
            return state(node.url, "Fleet is busy") == "firing"

        until(lambda: known(node.url), FAR_S, "the rule is not there")
        until(fires, FAR_S, "it does not fire")
        workers[1].start()
        until(workers[1].is_ready, FAR_S, "the second worker is not ready")
        supervisor.kill(workers[0])
        workers[2].start()
        until(workers[2].is_ready, FAR_S, "the third worker is not ready")
        assert fires()

        def resolves() -> bool:
            collect(node.url, dict.fromkeys(HOSTS, 1.0))
            return state(node.url, "Fleet is busy") == "inactive"

        until(resolves, FAR_S, "it does not resolve")
        told = events(node.url, "Fleet is busy")
        assert [event for event in told if event in {"fired", "resolved"}] == ["fired", "resolved"]
    settings = load_settings(variables(kafka, kafka_prefix))
    config = settings.kafka()
    assert config is not None
    with closing(KafkaLog.open(config)) as log:
        each_processor_gives_again_what_the_log_holds(log, settings)


def known(url: str) -> bool:
    """Whether the rule is listed."""
    rules = call(url, "manage_alerts", action="list")["alerts"]
    return any(rule["name"] == "Fleet is busy" for rule in rules)
