"""The settings of what the log is copied to: InfluxDB and Redis."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, PositiveInt

from streams.setting_kinds import DAY_S, Token, Url, secret, setting


def _redis(url: str) -> str:
    if url.partition("://")[0] not in {"redis", "rediss"}:
        raise ValueError("a URL is like redis://localhost:6379/0, or rediss://… with TLS")
    return url


def _http(url: str) -> str:
    if url.partition("://")[0] not in {"http", "https"}:
        raise ValueError("a URL is like http://localhost:8086")
    return url


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Writes = Annotated[Literal["windows", "points", "both"], BeforeValidator(_lower)]


class SinkSettings(BaseModel):
    """A part of `streams.config.Settings`."""

    redis_url: Annotated[Url, AfterValidator(_redis)] | None = secret(
        "REDIS_URL",
        "Redis in which newest values, alerts and health are kept, like redis://localhost:6379/0",
    )
    redis_prefix: str = setting(
        "logfire:", "REDIS_PREFIX", "how its keys and channels begin", min_length=1, max_length=64
    )
    redis_ttl_s: PositiveInt = setting(
        DAY_S,
        "REDIS_TTL",
        "seconds that it keeps a value, a health check, or an alert that is over",
        le=366 * DAY_S,
    )
    influxdb_url: Annotated[Url, AfterValidator(_http)] | None = secret(
        "INFLUXDB_URL",
        "InfluxDB 2, or what speaks its write API, like http://localhost:8086: gets every window",
    )
    influxdb_token: Token | None = secret("INFLUXDB_TOKEN", "its token; unset: none is sent")
    influxdb_org: str = setting("logfire", "INFLUXDB_ORG", "its organization", min_length=1)
    influxdb_bucket: str = setting("metrics", "INFLUXDB_BUCKET", "its bucket", min_length=1)
    influxdb_write: Writes = setting(
        "windows", "INFLUXDB_WRITE", "what it gets: windows, points or both"
    )
    grafana_url: Annotated[Url, AfterValidator(_http)] | None = secret(
        "GRAFANA_URL", "Grafana, like http://localhost:3000, which `grafana install` sets up"
    )
    grafana_api_key: Token | None = secret(
        "GRAFANA_API_KEY", "token of a service account of Grafana with the role Admin"
    )
