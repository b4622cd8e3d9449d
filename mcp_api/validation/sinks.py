"""The services that the log is copied to, asked for themselves: Redis and InfluxDB."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx

from mcp_api.validation.outcome import Check, Outcome, failed, look, ok, skipped
from streams.config import Settings

PART = "services"
ANSWER_S = 10.0
_KEY_S = 10


def check_sinks(settings: Settings) -> Iterator[Check]:
    """Nothing is left behind: Redis is given a key that ends by itself, InfluxDB no point."""
    yield look(PART, "Redis", lambda: _redis(settings), "check REDIS_URL, and that it runs")
    influx = "check INFLUXDB_URL, and that it runs"
    yield look(PART, "InfluxDB", lambda: _influxdb(settings), influx)


def _redis(settings: Settings) -> Outcome:
    if settings.redis_url is None:
        return skipped("REDIS_URL is not set")
    # Late: who has no Redis needs no client of it.
    from redis import Redis
    from redis.exceptions import RedisError

    key = f"logfire-mcp:validate:{uuid.uuid4().hex}"
    try:
        with Redis.from_url(
            settings.redis_url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S
        ) as client:
            client.ping()
            client.set(key, "1", ex=_KEY_S)
            client.delete(key)
            version = client.info("server")["redis_version"]
    except RedisError as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    return ok(f"answers, takes a key; version {version}")


def _influxdb(settings: Settings) -> Outcome:
    """An empty write is refused by a server that would have taken points (400), and before that
    for a wrong token, organisation or bucket: https://docs.influxdata.com/influxdb/v2/api/."""
    if settings.influxdb_url is None:
        return skipped("INFLUXDB_URL is not set")
    url = settings.influxdb_url.rstrip("/")
    token = settings.influxdb_token
    headers = {} if token is None else {"authorization": f"Token {token}"}
    where = {"org": settings.influxdb_org or "", "bucket": settings.influxdb_bucket or ""}
    try:
        with httpx.Client(headers=headers, timeout=ANSWER_S) as client:
            ping = client.get(f"{url}/ping")
            write = client.post(f"{url}/api/v2/write", params=where, content=b"")
    except httpx.HTTPError as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    if ping.status_code not in (200, 204):
        return failed(f"/ping answers {ping.status_code}", "check INFLUXDB_URL")
    match write.status_code:
        case 200 | 204 | 400:
            version = ping.headers.get("x-influxdb-version", "unknown")
            return ok(f"answers and would take points; version {version}")
        case 401 | 403:
            return failed("it refuses the token", "check INFLUXDB_TOKEN: it needs to write")
        case 404:
            todo = "check INFLUXDB_ORG and INFLUXDB_BUCKET"
            return failed("it has no such organisation or bucket", todo)
        case status:
            return failed(f"/api/v2/write answers {status}", "see InfluxDB's output")
