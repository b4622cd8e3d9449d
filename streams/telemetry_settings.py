"""The settings of what tells Logfire and OpenTelemetry about this server."""

from __future__ import annotations

from pydantic import BaseModel

from streams.setting_kinds import Token, secret, setting


class TelemetrySettings(BaseModel):
    """A part of `streams.config.Settings`."""

    # Known and checked for their shape; what acts on them is not there yet.
    logfire_token: Token | None = secret("LOGFIRE_TOKEN")
    logfire_project_name: str | None = setting(None, "LOGFIRE_PROJECT_NAME")
    logfire_service_name: str | None = setting(None, "LOGFIRE_SERVICE_NAME")
    environment: str | None = setting(None, "ENVIRONMENT")
