"""One trace over two processes: a node takes the call, a worker does the rest."""

from __future__ import annotations

from pathlib import Path

from tests.flow.kafka_fleet import Child, until
from tests.flow.receiving import http_server
from tests.observability.calling import FAST, TRACE, TRACED, alert, collect, receivers
from tests.observability.collector import collecting, of_trace

FAR_S = 60.0
ON_NODE = {"POST /logfire-mcp", "log append", "projection duckdb"}
ON_WORKER = {"processor windows", "processor route", "processor evaluate", "notify ops"}


def test_the_trace_goes_on_in_the_worker_and_ends_at_the_receiver(
    kafka: str, kafka_prefix: str, tmp_path: Path
) -> None:
    with collecting() as collector, http_server() as inbox:
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "KAFKA_TOPIC_PREFIX": kafka_prefix,
            "KAFKA_PARTITIONS": "2",
            "ALERT_RECEIVERS": receivers(inbox.url),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "LOGFIRE_FORWARD_POINTS": "on",
            **FAST,
        }
        node = Child("node", ["serve"], settings, tmp_path)
        worker = Child("worker", ["worker"], settings, tmp_path)
        try:
            node.start()
            worker.start()
            until(lambda: node.is_ready() and worker.is_ready(), FAR_S, "they are not ready")
            alert(node.url)
            collect(node.url, 9.0, TRACED)
            collector.wait_for(
                lambda: of_trace(collector.spans, TRACE).keys() >= ON_NODE | ON_WORKER
            )
            collector.wait_for(lambda: [one for one in collector.lines if one.trace == TRACE])
            collector.wait_for(lambda: [one.value for one in collector.points] == [9.0])
        finally:
            assert [child.stop(15) for child in (node, worker)] == [0, 0], worker.tail()
    pids = {
        name: {span.resource["process.pid"] for span in collector.spans if span.name == name}
        for name in ON_NODE | ON_WORKER
    }
    (of_node,) = set.union(*(pids[name] for name in ON_NODE))
    (of_worker,) = set.union(*(pids[name] for name in ON_WORKER))
    assert of_node != of_worker
