"""`Settings`: the only reader of the environment and of ``.env``.

The environment wins over ``.env``, options of the command line win over both; an empty variable is
an unset one. Every problem is told at once, each with its variable, what was got, what is valid.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
)
from pydantic.fields import FieldInfo

from streams.errors import ConfigError

WINDOW_SIZES_MAX = 8
DAY_S = 86_400
LOG_FILE = "logfire_mcp.db"


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _window_sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    if not sizes or len(sizes) > WINDOW_SIZES_MAX:
        raise ValueError(f"give one to {WINDOW_SIZES_MAX} sizes")
    if min(sizes) < 1 or max(sizes) > DAY_S:
        raise ValueError(f"a size is 1 to {DAY_S} seconds")
    if any(size % min(sizes) for size in sizes):
        raise ValueError("each size is a multiple of the smallest")
    return tuple(sorted(set(sizes)))


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query:
        raise ValueError("an origin is like https://example.com or http://localhost:3000")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if not parts.scheme or not parts.netloc:
        raise ValueError("a URL is like http://localhost:8086")
    return text


def _token(text: str) -> str:
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("a token is printable ASCII without blanks")
    return text


def _path(value: Any) -> Any:
    return Path(value).expanduser() if isinstance(value, str | Path) else value


def _log_path(path: Path) -> Path:
    if path.suffix.lower() == ".duckdb":
        raise ValueError(
            "a file name that does not end in .duckdb, like logfire_mcp.db: LOGFIRE_DB_PATH is the "
            "event log, and the DuckDB file made from it lies beside it under that name"
        )
    return path


def _setting(default: Any, variable: str, meaning: str = "", **limits: Any) -> Any:
    """A field read from ``variable``; without a meaning it is accepted, but nothing uses it yet."""
    extra: dict[str, Any] = {"variable": variable}
    return Field(default, description=meaning or None, json_schema_extra=extra, **limits)


def _secret(variable: str, meaning: str = "") -> Any:
    return Field(
        None,
        description=meaning or None,
        repr=False,
        json_schema_extra={"variable": variable, "secret": True},
    )


Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_listed)]
Sizes = Annotated[tuple[int, ...], BeforeValidator(_listed), AfterValidator(_window_sizes)]
Url = Annotated[str, AfterValidator(_url)]
Token = Annotated[str, AfterValidator(_token)]
Location = Annotated[Path, BeforeValidator(_path)]
LogPath = Annotated[Location, AfterValidator(_log_path)]
Level = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


class Settings(BaseModel):
    """Everything that can be set. Made by `load_settings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Location = _setting(
        Path("~/.logfire-mcp").expanduser(),
        "LOGFIRE_DATA_DIR",
        "the directory in which everything is kept",
    )
    db_path: LogPath = _setting(
        Path("~/.logfire-mcp").expanduser() / LOG_FILE,
        "LOGFIRE_DB_PATH",
        "the event log's file; with another data directory by default in that one",
    )
    host: str = _setting(
        "127.0.0.1",
        "LOGFIRE_MCP_HOST",
        "the address to listen on; other than loopback only with LOGFIRE_MCP_TOKEN",
        min_length=1,
    )
    port: int = _setting(
        8000, "LOGFIRE_MCP_PORT", "the port to listen on; 0 takes a free one", ge=0, le=65_535
    )
    token: Token | None = _secret(
        "LOGFIRE_MCP_TOKEN", "the bearer token that every request must carry; unset: none"
    )
    allowed_hosts: Listed = _setting(
        (),
        "LOGFIRE_MCP_ALLOWED_HOSTS",
        "Host headers taken beside this address's own, comma-separated",
    )
    allowed_origins: Origins = _setting(
        (),
        "LOGFIRE_MCP_ALLOWED_ORIGINS",
        "browser origins taken beside this server's own, comma-separated",
    )
    partitions: int = _setting(
        1,
        "LOGFIRE_MCP_PARTITIONS",
        "partitions of each topic, fixed when the log is made",
        ge=1,
        le=1_024,
    )
    window_sizes_s: Sizes = _setting(
        (60,),
        "WINDOW_SIZES",
        "lengths of the aggregated windows in seconds, comma-separated, each a multiple of the "
        "smallest",
    )
    window_grace_s: int = _setting(
        30, "WINDOW_GRACE", "seconds that a window waits for late points", ge=0, le=DAY_S
    )
    tick_s: int = _setting(5, "TICK_INTERVAL", "seconds between the clock's events", ge=1, le=3_600)
    metrics_collection_interval_s: int = _setting(
        30,
        "METRICS_COLLECTION_INTERVAL",
        "seconds between measurements of this machine; 0 turns them off",
        ge=0,
        le=DAY_S,
    )
    log_level: Level = _setting("INFO", "LOG_LEVEL", "DEBUG, INFO, WARNING, ERROR or CRITICAL")
    series_max: PositiveInt = _setting(
        1_000_000, "LOGFIRE_MCP_SERIES_MAX", "series in all; points of new ones are refused then"
    )
    source_series_max: PositiveInt = _setting(
        100_000, "LOGFIRE_MCP_SOURCE_SERIES_MAX", "series of one source"
    )
    body_bytes_max: int = _setting(
        32 << 20,
        "LOGFIRE_MCP_BODY_BYTES_MAX",
        "bytes of one request's body",
        ge=1_024,
        le=1 << 30,
    )

    # Known and checked for their shape; what acts on them is not there yet.
    logfire_token: Token | None = _secret("LOGFIRE_TOKEN")
    logfire_project_name: str | None = _setting(None, "LOGFIRE_PROJECT_NAME")
    logfire_service_name: str | None = _setting(None, "LOGFIRE_SERVICE_NAME")
    environment: str | None = _setting(None, "ENVIRONMENT")
    redis_url: Url | None = _secret("REDIS_URL")
    influxdb_url: Url | None = _secret("INFLUXDB_URL")
    influxdb_token: Token | None = _secret("INFLUXDB_TOKEN")
    influxdb_org: str | None = _setting(None, "INFLUXDB_ORG")
    influxdb_bucket: str | None = _setting(None, "INFLUXDB_BUCKET")
    grafana_url: Url | None = _secret("GRAFANA_URL")
    grafana_api_key: Token | None = _secret("GRAFANA_API_KEY")
    health_check_interval_s: PositiveInt | None = _setting(None, "HEALTH_CHECK_INTERVAL")
    health_check_timeout_s: PositiveInt | None = _setting(None, "HEALTH_CHECK_TIMEOUT")
    alert_evaluation_interval_s: PositiveInt | None = _setting(None, "ALERT_EVALUATION_INTERVAL")
    kafka_bootstrap_servers: Listed = _setting((), "KAFKA_BOOTSTRAP_SERVERS")

    def check_exposure(self) -> Self:
        """`ConfigError` where others could reach a server that asks for no token."""
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"{_variable('host')} is {self.host!r}, which other machines can reach, and "
                f"{_variable('token')} is not set; set a token, or listen on 127.0.0.1"
            )
        return self


def load_settings(
    environ: Mapping[str, str], dotenv_path: Path | None = None, **overrides: Any
) -> Settings:
    """The settings of a process; ``overrides`` are fields by name, as the command line gives them.

    Raises `ConfigError` with every problem, also where `Settings.check_exposure` finds one.
    """
    variables = {**_read_dotenv(dotenv_path), **{k: v for k, v in environ.items() if v}}
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
    return settings.check_exposure()


def settings_table() -> list[tuple[str, str, str]]:
    """Variable, default and meaning of each setting that acts, for ``--help`` and the README."""
    return [
        (_variable(name), _default_text(info), info.description)
        for name, info in Settings.model_fields.items()
        if info.description
    ]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


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
