"""`Settings`: the only reader of the environment and of ``.env``.

The environment wins over ``.env``, options of the command line win over both; an empty variable is
an unset one. Every problem is told at once, each with its variable, what was got, what is valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from dotenv import dotenv_values
from pydantic import ConfigDict, PositiveInt, ValidationError
from pydantic.fields import FieldInfo

from streams.errors import ConfigError
from streams.kafka_settings import KafkaSettings
from streams.setting_kinds import (
    DAY_S,
    Level,
    Listed,
    Location,
    LogPath,
    Networks,
    Origins,
    Sizes,
    Token,
    Url,
    is_loopback,
    secret,
    setting,
)
from streams.sink_settings import SinkSettings
from streams.telemetry_settings import TelemetrySettings

LOG_FILE = "logfire_mcp.db"
KEY_CHARS_MIN = 16


class Settings(KafkaSettings, SinkSettings, TelemetrySettings):
    """Everything that can be set. Made by `load_settings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Location = setting(
        Path("~/.logfire-mcp").expanduser(),
        "LOGFIRE_DATA_DIR",
        "the directory in which everything is kept",
    )
    db_path: LogPath = setting(
        Path("~/.logfire-mcp").expanduser() / LOG_FILE,
        "LOGFIRE_DB_PATH",
        "the event log's file; with another data directory by default in that one",
    )
    host: str = setting(
        "127.0.0.1",
        "LOGFIRE_MCP_HOST",
        "the address to listen on; other than loopback only with LOGFIRE_MCP_TOKEN",
        min_length=1,
    )
    port: int = setting(
        8000, "LOGFIRE_MCP_PORT", "the port to listen on; 0 takes a free one", ge=0, le=65_535
    )
    token: Token | None = secret(
        "LOGFIRE_MCP_TOKEN", "the bearer token that every request must carry; unset: none"
    )
    allowed_hosts: Listed = setting(
        (),
        "LOGFIRE_MCP_ALLOWED_HOSTS",
        "Host headers taken beside this address's own, comma-separated",
    )
    allowed_origins: Origins = setting(
        (),
        "LOGFIRE_MCP_ALLOWED_ORIGINS",
        "browser origins taken beside this server's own, comma-separated",
    )
    partitions: int = setting(
        1,
        "LOGFIRE_MCP_PARTITIONS",
        "partitions of each topic, fixed when the log is made",
        ge=1,
        le=1_024,
    )
    window_sizes_s: Sizes = setting(
        (60,),
        "WINDOW_SIZES",
        "lengths of the aggregated windows in seconds, comma-separated, each a multiple of the "
        "smallest",
    )
    window_grace_s: int = setting(
        30, "WINDOW_GRACE", "seconds that a window waits for late points", ge=0, le=DAY_S
    )
    tick_s: int = setting(5, "TICK_INTERVAL", "seconds between the clock's events", ge=1, le=3_600)
    metrics_collection_interval_s: int = setting(
        30,
        "METRICS_COLLECTION_INTERVAL",
        "seconds between measurements of this machine; 0 turns them off",
        ge=0,
        le=DAY_S,
    )
    alert_evaluation_interval_s: int | None = setting(
        None,
        "ALERT_EVALUATION_INTERVAL",
        "seconds between evaluations of a rule that does not say otherwise; by default each tick",
        ge=1,
        le=DAY_S,
    )
    alert_receivers: str | None = secret(
        "ALERT_RECEIVERS",
        "the file (TOML or JSON) of receivers, routes and mute times of alerts; or JSON itself",
    )
    health_targets: Location | None = setting(
        None, "HEALTH_TARGETS", "the file (TOML or JSON) of MCP servers and others to check"
    )
    default_targets: bool = setting(
        True, "DEFAULT_TARGETS", "on or off: check the five MCP servers of the default set-up"
    )
    health_check_interval_s: PositiveInt = setting(
        30, "HEALTH_CHECK_INTERVAL", "seconds between checks of a target", le=DAY_S
    )
    health_check_timeout_s: PositiveInt = setting(
        10, "HEALTH_CHECK_TIMEOUT", "seconds for a check; at most the interval", le=DAY_S
    )
    health_allowed_networks: Networks = setting(
        (),
        "HEALTH_ALLOWED_NETWORKS",
        "private networks like 10.0.0.0/8 at which health_check may ask URLs, comma-separated",
    )
    anonymize_tags: Listed = setting(
        (),
        "ANONYMIZE_TAGS",
        "tags like email,user whose values are replaced by keyed hashes before anything is stored, "
        "comma-separated",
    )
    anonymize_key: Token | None = secret(
        "ANONYMIZE_KEY", "the key of these hashes, 16 characters or more; the same on every node"
    )
    log_level: Level = setting("INFO", "LOG_LEVEL", "DEBUG, INFO, WARNING, ERROR or CRITICAL")
    series_max: PositiveInt = setting(
        1_000_000, "LOGFIRE_MCP_SERIES_MAX", "series in all; points of new ones are refused then"
    )
    source_series_max: PositiveInt = setting(
        100_000, "LOGFIRE_MCP_SOURCE_SERIES_MAX", "series of one source"
    )
    body_bytes_max: int = setting(
        32 << 20,
        "LOGFIRE_MCP_BODY_BYTES_MAX",
        "bytes of one request's body",
        ge=1_024,
        le=1 << 30,
    )
    snapshot_from: Url | None = setting(
        None,
        "SNAPSHOT_FROM",
        "URL of another node on Kafka, like http://node-1:8000, from which a node that has no "
        "database yet copies it, and from which a worker refills what its copies missed",
    )
    snapshot_token: Token | None = secret(
        "SNAPSHOT_TOKEN", "the token of that node; by default this one's own"
    )
    host_label: str | None = setting(
        None,
        "LOGFIRE_MCP_HOST_LABEL",
        "label host of this machine's own measurements; by default its name",
        min_length=1,
        max_length=256,
    )

    def check_exposure(self) -> Self:
        """`ConfigError` where others could reach a server that asks for no token."""
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"{_variable('host')} is {self.host!r}, which other machines can reach, and "
                f"{_variable('token')} is not set; set a token, or listen on 127.0.0.1"
            )
        return self

    def check_anonymized(self) -> Self:
        """`ConfigError` where tags are to be anonymized without a key that cannot be guessed."""
        if self.anonymize_tags and len(self.anonymize_key or "") < KEY_CHARS_MIN:
            raise ConfigError(
                f"{_variable('anonymize_tags')} is set: it takes {_variable('anonymize_key')}, a "
                f"secret of {KEY_CHARS_MIN} characters or more, the same on every node"
            )
        return self


def load_settings(
    environ: Mapping[str, str], dotenv_path: Path | None = None, **overrides: Any
) -> Settings:
    """The settings of a process; ``overrides`` are fields by name, as the command line gives them.

    Raises `ConfigError` with every problem, also where `Settings.check_exposure` finds one.
    """
    variables = all_variables(environ, dotenv_path)
    fields: dict[str, Any] = {
        name: variables[_variable(name)]
        for name in Settings.model_fields
        if variables.get(_variable(name))
    }
    fields |= overrides
    try:
        settings = Settings(**fields)
    except ValidationError as error:
        raise ConfigError("; ".join(_problems(error, overrides))) from error
    if "db_path" not in settings.model_fields_set:
        settings = settings.model_copy(update={"db_path": settings.data_dir / LOG_FILE})
    return settings.check_exposure().check_anonymized()


def all_variables(environ: Mapping[str, str], dotenv_path: Path | None) -> dict[str, str]:
    """Those that are set, the file's beneath the environment's; for what settings refer to, too."""
    return {**_read_dotenv(dotenv_path), **{k: v for k, v in environ.items() if v}}


def settings_table() -> list[tuple[str, str, str]]:
    """Variable, default and meaning of each setting that acts, for ``--help`` and the README."""
    return [
        (_variable(name), _default_text(info), info.description)
        for name, info in Settings.model_fields.items()
        if info.description
    ]


def _read_dotenv(path: Path | None) -> dict[str, str]:
    if path is None or not path.is_file():
        return {}
    try:
        return {name: value for name, value in dotenv_values(path).items() if value}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; it holds lines NAME=value") from error


def _extra(name: str) -> dict[str, Any]:
    extra = Settings.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    return extra


def _variable(name: str) -> str:
    return str(_extra(name)["variable"])


def _problems(error: ValidationError, overrides: Mapping[str, Any]) -> Iterable[str]:
    """One clause a problem; secrets are not repeated."""
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0])
        if name not in Settings.model_fields:
            yield f"there is no setting {name!r}"
            continue
        called = f"option {name}" if name in overrides else _variable(name)
        got = "set" if _extra(name).get("secret") else f"{problem['input']!r:.80}"
        valid = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        valid = valid.removeprefix("a valid ").split(", unable to parse")[0]
        yield f"{called} is {got}; valid: {valid}"


def _default_text(info: FieldInfo) -> str:
    default = info.default
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    home = str(Path.home())
    return str(default).replace(home, "~", 1) if isinstance(default, Path) else str(default)
