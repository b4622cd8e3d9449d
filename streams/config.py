"""`Settings`: the only reader of the environment and of ``.env``.

The environment wins over ``.env``, options of the command line win over both; an empty variable is
an unset one. Every problem is told at once, each with its variable, what was got, what is valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, ConfigDict, PositiveInt, ValidationError
from pydantic.fields import FieldInfo

from streams.errors import ConfigError
from streams.ingest.ingest_topics import IngestTopic, read_topics
from streams.log.kafka_config import HOUR_MS, KafkaConfig, Mechanism, Protocol
from streams.setting_kinds import (
    DAY_S,
    Level,
    Listed,
    Location,
    LogPath,
    Networks,
    Origins,
    Servers,
    Sizes,
    Token,
    Url,
    is_loopback,
    secret,
    setting,
)

LOG_FILE = "logfire_mcp.db"

OWN_TOPICS = ("metrics.", "rules.", "alerts.", "commands", "deadletter", "meta", "requests")
"""How the names of the log's own topics begin where they have no prefix."""


class Settings(BaseModel):
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
    kafka_bootstrap_servers: Servers = setting(
        (), "KAFKA_BOOTSTRAP_SERVERS", "host:port of Kafka's brokers; the log is on Kafka if set"
    )
    kafka_topic_prefix: str = setting(
        "logfire.",
        "KAFKA_TOPIC_PREFIX",
        "begins the names of our topics and groups",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
    )
    kafka_partitions: int = setting(
        6, "KAFKA_PARTITIONS", "partitions of each topic, fixed when it is made", ge=1, le=1_024
    )
    kafka_replication: int | None = setting(
        None,
        "KAFKA_REPLICATION",
        "copies of each topic; by default three, or as many as there are brokers",
        ge=1,
        le=32,
    )
    kafka_min_insync_replicas: int | None = setting(
        None,
        "KAFKA_MIN_INSYNC_REPLICAS",
        "copies that have a record before it is acknowledged; by default two of three, else one",
        ge=1,
        le=32,
    )
    kafka_retention_hours: int = setting(
        168, "KAFKA_RETENTION_HOURS", "hours for which points and windows are kept", ge=1, le=87_600
    )
    kafka_security_protocol: Protocol = setting(
        "PLAINTEXT", "KAFKA_SECURITY_PROTOCOL", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Mechanism = setting(
        "PLAIN", "KAFKA_SASL_MECHANISM", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str | None = setting(None, "KAFKA_SASL_USERNAME", "for SASL")
    kafka_sasl_password: str | None = secret("KAFKA_SASL_PASSWORD", "for SASL")
    kafka_ssl_cafile: str | None = setting(
        None, "KAFKA_SSL_CAFILE", "PEM file of the authority that signed the brokers' certificates"
    )
    kafka_ssl_certfile: str | None = setting(
        None,
        "KAFKA_SSL_CERTFILE",
        "PEM file of this client's certificate, where brokers ask for it",
    )
    kafka_ssl_keyfile: str | None = setting(
        None, "KAFKA_SSL_KEYFILE", "PEM file of that certificate's key"
    )

    ingest_topics: Annotated[tuple[IngestTopic, ...], BeforeValidator(read_topics)] = setting(
        (),
        "INGEST_TOPICS",
        "Kafka topics from which workers take what others write: name=json, name=influx or "
        "name=influx:ms (ns, us, ms, s), comma-separated",
    )
    worker_id: str | None = setting(
        None,
        "WORKER_ID",
        "name of a worker among all: one that comes back under it soon keeps its partitions, and "
        "while it is gone nobody else has them for KAFKA_SESSION_TIMEOUT",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
    )
    kafka_session_timeout_s: float = setting(
        10.0,
        "KAFKA_SESSION_TIMEOUT",
        "seconds without a sign of life until a worker's partitions go to others; brokers take 6 "
        "or more as they come",
        ge=1,
        le=300,
    )
    worker_stall_timeout_s: float = setting(
        60.0,
        "WORKER_STALL_TIMEOUT",
        "seconds without progress until a worker ends, to be started again",
        ge=1,
        le=3_600,
    )
    snapshot_from: Url | None = setting(
        None,
        "SNAPSHOT_FROM",
        "URL of another node on Kafka, like http://node-1:8000, from which a node that has no "
        "database yet copies it",
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

    # Known and checked for their shape; what acts on them is not there yet.
    logfire_token: Token | None = secret("LOGFIRE_TOKEN")
    logfire_project_name: str | None = setting(None, "LOGFIRE_PROJECT_NAME")
    logfire_service_name: str | None = setting(None, "LOGFIRE_SERVICE_NAME")
    environment: str | None = setting(None, "ENVIRONMENT")
    redis_url: Url | None = secret("REDIS_URL")
    influxdb_url: Url | None = secret("INFLUXDB_URL")
    influxdb_token: Token | None = secret("INFLUXDB_TOKEN")
    influxdb_org: str | None = setting(None, "INFLUXDB_ORG")
    influxdb_bucket: str | None = setting(None, "INFLUXDB_BUCKET")
    grafana_url: Url | None = secret("GRAFANA_URL")
    grafana_api_key: Token | None = secret("GRAFANA_API_KEY")

    def check_exposure(self) -> Self:
        """`ConfigError` where others could reach a server that asks for no token."""
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"{_variable('host')} is {self.host!r}, which other machines can reach, and "
                f"{_variable('token')} is not set; set a token, or listen on 127.0.0.1"
            )
        return self

    def ingested(self) -> tuple[IngestTopic, ...]:
        """The ingest topics; `ConfigError` where there is no Kafka, or one is the log's own."""
        kafka = self.kafka()
        for topic in self.ingest_topics:
            if kafka is None:
                raise ConfigError(
                    f"INGEST_TOPICS is {topic}, and KAFKA_BOOTSTRAP_SERVERS is not set: ingest "
                    "topics are Kafka's"
                )
            own = kafka.prefix or OWN_TOPICS
            if topic.name.startswith(own):
                raise ConfigError(
                    f"INGEST_TOPICS has {topic.name}; valid: names that begin otherwise than the "
                    f"log's own, with {kafka.prefix or ', '.join(own)} (KAFKA_TOPIC_PREFIX)"
                )
        return self.ingest_topics

    def kafka(self) -> KafkaConfig | None:
        """The cluster that holds the log; None where the log is the embedded one.

        `ConfigError` where KAFKA_* settings do not fit together.
        """
        if not self.kafka_bootstrap_servers:
            return None
        copies, in_sync = self.kafka_replication, self.kafka_min_insync_replicas
        if copies is not None and in_sync is not None and in_sync > copies:
            raise ConfigError(
                f"KAFKA_MIN_INSYNC_REPLICAS is {in_sync}; valid: at most KAFKA_REPLICATION, "
                f"{copies}"
            )
        secured = self.kafka_security_protocol.startswith("SASL")
        if secured and not (self.kafka_sasl_username and self.kafka_sasl_password):
            raise ConfigError(
                f"KAFKA_SECURITY_PROTOCOL is {self.kafka_security_protocol}: it takes "
                "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            )
        return KafkaConfig(
            bootstrap_servers=self.kafka_bootstrap_servers,
            prefix=self.kafka_topic_prefix,
            partitions=self.kafka_partitions,
            replication=copies,
            min_insync_replicas=in_sync,
            retention_ms=self.kafka_retention_hours * HOUR_MS,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_sasl_username,
            sasl_password=self.kafka_sasl_password,
            ssl_cafile=self.kafka_ssl_cafile,
            ssl_certfile=self.kafka_ssl_certfile,
            ssl_keyfile=self.kafka_ssl_keyfile,
        )


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
    return settings.check_exposure()


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
