"""The settings of what the log is copied to: InfluxDB and Redis."""

from __future__ import annotations

from pydantic import BaseModel

from streams.setting_kinds import Token, Url, secret, setting


class SinkSettings(BaseModel):
    """A part of `streams.config.Settings`."""

    # Known and checked for their shape; what acts on them is not there yet.
    redis_url: Url | None = secret("REDIS_URL")
    influxdb_url: Url | None = secret("INFLUXDB_URL")
    influxdb_token: Token | None = secret("INFLUXDB_TOKEN")
    influxdb_org: str | None = setting(None, "INFLUXDB_ORG")
    influxdb_bucket: str | None = setting(None, "INFLUXDB_BUCKET")
    grafana_url: Url | None = secret("GRAFANA_URL")
    grafana_api_key: Token | None = secret("GRAFANA_API_KEY")
