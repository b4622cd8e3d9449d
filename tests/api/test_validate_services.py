"""`validate --integration` asks every configured service, and says what to do where one fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.processes import serving
from tests.api.services import Asked, http_service
from tests.api.test_validate import POINTS, collect, validated
from tests.flow.receiving import PASSWORD, USER, certificate, http_server, smtp_server
from tests.projections.sink_servers import RedisServer, VictoriaServer

AWAY = "127.0.0.1:9"
"""Nobody listens at the port of discard."""


def test_without_the_option_nobody_is_asked(tmp_path: Path) -> None:
    with http_service(lambda _: (200, {})) as service:
        validated(tmp_path, GRAFANA_URL=service.url, INFLUXDB_URL=service.url)
        assert not service.asked


def test_what_is_not_configured_does_not_count(tmp_path: Path) -> None:
    checks = validated(tmp_path, "--integration")
    services = ("Redis", "InfluxDB")
    telling = ("Logfire", "OpenTelemetry", "Grafana")
    names = [("services", name) for name in services] + [("telemetry", name) for name in telling]
    assert {checks[name]["state"] for name in names} == {"skipped"}


def test_services_that_are_away_fail_each_with_what_to_do(tmp_path: Path) -> None:
    receivers = {"receivers": {"ops": {"kind": "webhook", "url": f"http://{AWAY}/hook"}}}
    checks = validated(
        tmp_path,
        "--integration",
        code=1,
        REDIS_URL=f"redis://{AWAY}/0",
        INFLUXDB_URL=f"http://{AWAY}",
        LOGFIRE_TOKEN="pylf_v1_us_x",
        LOGFIRE_BASE_URL=f"http://{AWAY}",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{AWAY}",
        GRAFANA_URL=f"http://{AWAY}",
        ALERT_RECEIVERS=json.dumps(receivers),
    )
    failed = {name: each["todo"] for (_, name), each in checks.items() if each["state"] == "failed"}
    assert set(failed) == {"Redis", "InfluxDB", "ops", "Logfire", "OpenTelemetry", "Grafana"}
    assert all(failed.values())


def test_a_broker_that_is_away_fails_at_once_and_nothing_waits_for_it(tmp_path: Path) -> None:
    checks = validated(tmp_path, code=1, KAFKA_BOOTSTRAP_SERVERS=AWAY)
    assert "KAFKA_BOOTSTRAP_SERVERS" in checks["log", "brokers"]["todo"]
    assert checks["database", "equals the log"]["state"] == "skipped"


def test_beside_a_node_on_kafka_brokers_topics_and_database_are_checked(
    tmp_path: Path, kafka: str, kafka_prefix: str
) -> None:
    cluster = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_TOPIC_PREFIX": kafka_prefix,
        "KAFKA_PARTITIONS": "1",
    }
    with serving(tmp_path, "--with-worker", **cluster) as (_, found):
        collect(found)
        checks = validated(tmp_path, **cluster)
    assert checks["log", "brokers"]["text"].startswith("1: ")
    assert checks["log", "topics"]["state"] == "ok"
    assert checks["database", "equals the log"]["data"]["rows"]["points"] == len(POINTS)
    assert checks["server", "its own status"]["data"]["components"]["kafka"] == "connected"


def test_redis_is_given_a_key_that_does_not_stay(
    requires: Callable[[str], str], tmp_path: Path
) -> None:
    redis = RedisServer(requires("redis-server"), tmp_path, keeps=False)
    try:
        checks = validated(tmp_path / "data", "--integration", REDIS_URL=redis.url)
        with redis.client() as client:
            assert client.dbsize() == 0
    finally:
        redis.program.kill()
    assert "takes a key" in checks["services", "Redis"]["text"]


def test_an_influxdb_takes_the_empty_write(requires: Callable[[str], str], tmp_path: Path) -> None:
    influx = VictoriaServer(requires("victoria-metrics"), tmp_path)
    try:
        checks = validated(tmp_path / "data", "--integration", INFLUXDB_URL=influx.url)
    finally:
        influx.program.kill()
    assert "would take points" in checks["services", "InfluxDB"]["text"]


@pytest.mark.parametrize(
    ("status", "todo"),
    [(204, ""), (400, ""), (401, "INFLUXDB_TOKEN"), (404, "INFLUXDB_BUCKET"), (500, "output")],
)
def test_influxdb_is_asked_whether_it_would_take_points(
    status: int, todo: str, tmp_path: Path
) -> None:
    def answer(asked: Asked) -> tuple[int, object]:
        return (204, b"") if asked.path == "/ping" else (status, {})

    with http_service(answer) as influx:
        more = {"INFLUXDB_TOKEN": "t0ken", "INFLUXDB_ORG": "acme", "INFLUXDB_BUCKET": "metrics"}
        url = {"INFLUXDB_URL": influx.url}
        checks = validated(tmp_path, "--integration", code=1 if todo else 0, **url, **more)
    write = influx.asked[-1]
    assert (write.path, write.query) == ("/api/v2/write", "org=acme&bucket=metrics")
    assert write.headers["authorization"] == "Token t0ken"
    assert write.body == b"", "nothing is written"
    assert todo in checks["services", "InfluxDB"]["todo"]


@pytest.mark.parametrize("status", [200, 401, 503])
def test_logfire_is_asked_whose_the_token_is(status: int, tmp_path: Path) -> None:
    with http_service(lambda _: (status, {"project_name": "mine"})) as logfire:
        checks = validated(
            tmp_path,
            "--integration",
            code=int(status != 200),
            LOGFIRE_TOKEN="pylf_v1_us_t0ken",
            LOGFIRE_BASE_URL=logfire.url,
        )
    assert [each.path for each in logfire.asked] == ["/v1/info"]
    assert logfire.asked[0].headers["authorization"] == "pylf_v1_us_t0ken"
    text = {200: "of project mine", 401: "refuses the token", 503: "answers 503"}[status]
    assert text in checks["telemetry", "Logfire"]["text"]
    assert "t0ken" not in json.dumps(list(checks.values()))


def test_an_otlp_collector_is_sent_a_request_with_no_span(tmp_path: Path) -> None:
    with http_service(lambda _: (200, b"")) as collector:
        checks = validated(
            tmp_path,
            "--integration",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_HEADERS="x-tenant=a%20b",
        )
    [asked] = [each for each in collector.asked if each.method == "POST"]
    assert (asked.path, asked.body, asked.headers["x-tenant"]) == ("/v1/traces", b"", "a b")
    assert checks["telemetry", "OpenTelemetry"]["state"] == "ok"


def test_grafana_is_asked_whether_it_takes_the_key(tmp_path: Path) -> None:
    def answer(asked: Asked) -> tuple[int, object]:
        if asked.path == "/api/health":
            return 200, {"database": "ok", "version": "12.3.0"}
        return (200, {"id": 1}) if asked.headers["authorization"] == "Bearer good" else (401, {})

    with http_service(answer) as grafana:
        for key, code in (("good", 0), ("bad", 1)):
            more = {"GRAFANA_URL": grafana.url, "GRAFANA_API_KEY": key}
            check = validated(tmp_path, "--integration", code=code, **more)["telemetry", "Grafana"]
            assert ("takes the key" in check["text"]) is (code == 0)


def test_another_service_at_the_url_is_not_taken_for_the_one_that_is_meant(tmp_path: Path) -> None:
    with http_service(lambda _: (200, b"<html>")) as other:
        checks = validated(tmp_path, "--integration", code=1, GRAFANA_URL=other.url)
    assert "another service" in checks["telemetry", "Grafana"]["text"]


def test_another_protocol_of_otlp_is_told_as_a_fault_of_the_settings(tmp_path: Path) -> None:
    otlp = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{AWAY}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    checks = validated(tmp_path, "--integration", code=1, **otlp)
    assert "valid: http/protobuf" in checks["configuration", "telemetry"]["text"]


def test_what_is_secret_in_a_url_is_not_told(tmp_path: Path) -> None:
    secret = "hush"
    more = {
        "REDIS_URL": f"redis://:{secret}@{AWAY}/0",
        "INFLUXDB_URL": f"http://me:{secret}@{AWAY}",
        "GRAFANA_URL": f"http://me:{secret}@{AWAY}",
    }
    checks = validated(tmp_path, "--integration", code=1, **more)
    assert secret not in json.dumps(list(checks.values()))


def test_receivers_are_reached_and_told_nothing(tmp_path: Path) -> None:
    with http_server() as web, smtp_server(tmp_path, tls="starttls") as mail:
        ca = certificate(tmp_path)
        to = f"{mail.url}/?to=ops@example.org&from=a@example.org&ca={ca}"
        receivers = {
            "hook": {"kind": "webhook", "url": f"{web.url}/hook"},
            "mail": {"kind": "email", "url": f"smtp://{USER}:${{MAIL_PASSWORD}}@{to}"},
            "wrong": {"kind": "email", "url": f"smtp://{USER}:wr0ng@{to}"},
        }
        checks = validated(
            tmp_path,
            "--integration",
            code=1,
            ALERT_RECEIVERS=json.dumps({"receivers": receivers}),
            MAIL_PASSWORD=PASSWORD,
        )
        assert not web.received
        assert not mail.received
    assert checks["receivers", "hook"]["state"] == "ok"
    assert "login is taken" in checks["receivers", "mail"]["text"]
    assert checks["receivers", "wrong"]["state"] == "failed"
    assert "wr0ng" not in json.dumps(list(checks.values()))
