"""The settings: where each comes from, and whether the files that they name can be used."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mcp_api.observability.destinations import destinations, is_configured
from mcp_api.telling import configured
from mcp_api.validation.outcome import Check, Outcome, failed, look, ok, skipped
from mcp_api.watching import configured_targets
from streams.config import Settings, all_variables

PART = "configuration"
HIDDEN = "***"
_OURS = "LOGFIRE_MCP_"
"""Variables that begin so are nobody else's: one that no setting reads is a slip of the pen."""

Told = dict[str, dict[str, str]]


def told_settings(
    settings: Settings, environ: Mapping[str, str], dotenv: Path, options: Mapping[str, Any]
) -> Told:
    """By variable: ``value`` (a secret's is ``***``) and ``source``: option, environment, .env or
    default. Defaults that are nothing are left out."""
    in_file = all_variables({}, dotenv)
    told: Told = {}
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        variable = str(extra["variable"])
        if options.get(name) is not None:
            source = "option"
        elif environ.get(variable):
            source = "environment"
        else:
            source = ".env" if variable in in_file else "default"
        value = getattr(settings, name)
        if value is not None and value != ():
            shown = HIDDEN if extra.get("secret") else _text(value)
            told[variable] = {"value": shown, "source": source}
    return told


def check_configuration(
    settings: Settings, told: Told, environ: Mapping[str, str]
) -> Iterator[Check]:
    """What was loaded, and what loading alone does not look at."""

    def set_ones() -> Outcome:
        given = {name: one for name, one in told.items() if one["source"] != "default"}
        listed = ", ".join(f"{name} ({one['source']})" for name, one in sorted(given.items()))
        return ok(f"{len(given)} set: {listed}" if given else "all are the defaults", settings=told)

    yield look(PART, "settings", set_ones)
    yield look(PART, "names of variables", lambda: _names(environ))
    yield look(PART, "Kafka", lambda: _kafka(settings))
    yield look(PART, "alert receivers", lambda: _receivers(settings))
    yield look(PART, "health targets", lambda: _targets(settings))
    yield look(PART, "telemetry", lambda: _telemetry(settings))


def _names(environ: Mapping[str, str]) -> Outcome:
    known = _variables()
    unknown = sorted(name for name in environ if name.startswith(_OURS) and name not in known)
    if not unknown:
        return ok(f"each {_OURS}… is a setting")
    near = difflib.get_close_matches(unknown[0], known, 1)
    meant = f"; {near[0]} may be meant" if near else ""
    return failed(f"no setting is called {', '.join(unknown)}{meant}", "correct it or unset it")


def _kafka(settings: Settings) -> Outcome:
    kafka = settings.kafka()
    topics = settings.ingested()
    if kafka is None:
        return skipped("KAFKA_BOOTSTRAP_SERVERS is not set: the log is a file")
    kafka.client_options()
    listed = f", {len(topics)} ingest topics" if topics else ""
    return ok(f"{', '.join(kafka.bootstrap_servers)}, topics {kafka.prefix}…{listed}")


def _receivers(settings: Settings) -> Outcome:
    if settings.alert_receivers is None:
        return skipped("ALERT_RECEIVERS is not set: alerts are told to nobody")
    return _counted(configured(settings).receivers, lambda receiver: receiver.kind)


def _targets(settings: Settings) -> Outcome:
    targets = configured_targets(settings).targets
    if not targets:
        return skipped("there are none")
    return _counted(targets, lambda target: target.kind)


def _telemetry(settings: Settings) -> Outcome:
    if not is_configured(settings):
        return skipped("neither LOGFIRE_TOKEN nor an OTLP endpoint is set: nobody is told")
    return ok(", ".join(destination.name for destination in destinations(settings)))


def _counted(named: Mapping[str, Any], kind: Callable[[Any], str]) -> Outcome:
    listed = ", ".join(f"{name} ({kind(one)})" for name, one in named.items())
    return ok(f"{len(named)}: {listed}")


def _variables() -> set[str]:
    extras = [field.json_schema_extra for field in Settings.model_fields.values()]
    return {str(extra["variable"]) for extra in extras if isinstance(extra, dict)}


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
