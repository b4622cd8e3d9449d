"""The Compose file and the Dockerfile, as far as they can be checked without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mcp_api.cli import main
from streams.config import Settings, load_settings

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docker-compose.kafka.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = YAML(typ="safe").load(FILE)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROGRAMS = sorted(name for name, service in SERVICES.items() if "build" in service)
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
NOT_SETTINGS = {"TMPDIR"}
GIVEN = {"LOGFIRE_MCP_TOKEN": "a-secret"}


def started(*named: str, profiles: frozenset[str] = frozenset()) -> set[str]:
    """What ``docker compose [--profile P]… up [NAME]…`` starts: with names those and what they
    need; without names every service that has no profile or an active one."""
    waiting = list(named) or [
        name
        for name, service in SERVICES.items()
        if not service.get("profiles") or profiles & set(service["profiles"])
    ]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            needed = SERVICES[name].get("depends_on", {})
            waiting += [other for other, how in needed.items() if how.get("required", True)]
    return found


def interpolated(text: str) -> str:
    """Compose's ``${NAME}``, ``${NAME:-default}``, ``${NAME:?error}`` and ``${NAME:+given}``."""

    def value(found: re.Match[str]) -> str:
        name, operator, word = found.groups()
        given = GIVEN.get(name, "")
        if operator == ":+":
            return str(word) if given else ""
        if operator == ":?":
            assert given, word
        return given or (str(word) if operator == ":-" else "")

    return re.sub(r"\$\{(\w+)(?:(:[-?+])([^}]*))?\}", value, text)


def environment(name: str) -> dict[str, str]:
    return {key: interpolated(str(value)) for key, value in SERVICES[name]["environment"].items()}


def test_the_file_follows_the_compose_specification() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", FILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_plain_up_starts_three_brokers_a_worker_and_a_serve_node() -> None:
    assert started() == {*BROKERS, "worker", "serve"}


def test_the_dev_stack_is_one_broker_and_nothing_of_the_other_stack() -> None:
    assert started("serve-dev") == {"kafka-dev", "worker-dev", "serve-dev"}
    assert "docker compose -f docker-compose.kafka.yml --profile dev up -d serve-dev" in (
        FILE.read_text()
    )


@pytest.mark.parametrize("profile", ["second-node", "redis", "influxdb", "prometheus", "grafana"])
def test_a_profile_adds_one_service(profile: str) -> None:
    (added,) = started(profiles=frozenset({profile})) - started()
    assert SERVICES[added]["profiles"] == [profile]


def test_every_service_that_is_waited_for_exists_and_says_when_it_is_healthy() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]


def test_three_brokers_make_one_cluster_that_keeps_two_copies_of_all_it_acknowledges() -> None:
    voters = []
    for name in BROKERS:
        told = environment(name)
        voters.append(f"{told['KAFKA_NODE_ID']}@{SERVICES[name]['hostname']}:9093")
        assert f"INTERNAL://{name}:19092" in told["KAFKA_ADVERTISED_LISTENERS"]
        assert told["KAFKA_PROCESS_ROLES"] == "broker,controller"
        assert told["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "3"
        assert told["KAFKA_MIN_INSYNC_REPLICAS"] == "2"
    for name in BROKERS:
        assert environment(name)["KAFKA_CONTROLLER_QUORUM_VOTERS"] == ",".join(voters)
    assert len({environment(name)["CLUSTER_ID"] for name in BROKERS}) == 1
    shared = ",".join(f"{name}:19092" for name in BROKERS)
    assert environment("serve")["KAFKA_BOOTSTRAP_SERVERS"] == shared


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_command_is_one_of_the_command_lines(name: str) -> None:
    command, *arguments = SERVICES[name]["command"]
    assert command in main.commands
    assert not arguments


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_variable_is_a_setting_and_the_settings_are_accepted(name: str) -> None:
    known = {
        info.json_schema_extra["variable"]
        for info in Settings.model_fields.values()
        if isinstance(info.json_schema_extra, dict)
    }
    told = environment(name)
    assert set(told) - NOT_SETTINGS <= known
    in_the_image = dict(re.findall(r"(LOGFIRE_\w+)=(\S+)", DOCKERFILE))
    settings = load_settings({**in_the_image, **told}, None)
    kafka = settings.kafka()
    assert kafka is not None
    assert (kafka.replication, kafka.min_insync_replicas) == (
        (1, 1) if name.endswith("-dev") else (3, 2)
    )


def test_a_worker_can_be_scaled() -> None:
    for name in ("worker", "worker-dev"):
        assert not {"container_name", "hostname", "ports", "volumes"} & set(SERVICES[name])


def test_each_program_has_its_token_from_the_environment_or_does_not_start() -> None:
    for name in PROGRAMS:
        told = SERVICES[name]["environment"]["LOGFIRE_MCP_TOKEN"]
        assert re.fullmatch(r"\$\{LOGFIRE_MCP_TOKEN:\?[^}]+\}", told)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_is_checked_restarted_and_not_root(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    if "build" in service:
        assert "user" not in service
        user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    else:
        user = service["user"]
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?(-\w+)?", service["image"])
    assert user.split(":")[0] not in {"", "0", "root"}


def test_what_must_last_lies_in_volumes_of_its_own() -> None:
    mounted = [
        mount.partition(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", [])
    ]
    assert sorted(mounted) == sorted(COMPOSE["volumes"])
    assert all(SERVICES[name].get("volumes") for name in SERVICES if not name.startswith("worker"))


def test_ports_are_on_loopback_and_do_not_collide() -> None:
    ports = [
        interpolated(port).rsplit(":", 1)[0]
        for service in SERVICES.values()
        for port in service.get("ports", [])
    ]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len(ports) == len(set(ports))


def test_configurations_that_are_mounted_are_in_the_file() -> None:
    named = {config["source"] for s in SERVICES.values() for config in s.get("configs", [])}
    assert named == set(COMPOSE["configs"])
    for config in COMPOSE["configs"].values():
        assert YAML(typ="safe").load(interpolated(config["content"]))


def test_what_the_dockerfile_copies_exists_and_is_sent_to_the_builder() -> None:
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    sources = {source.rstrip("/") for line in lines for source in line.split()[:-1]}
    assert all((ROOT / source).exists() for source in sources)
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert sources == sent
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= sources


def test_the_image_is_built_in_two_stages_from_the_tested_versions() -> None:
    assert len(re.findall(r"^FROM python:3\.11-slim", DOCKERFILE, re.MULTILINE)) == 2
    installs = re.findall(r"pip install .*", DOCKERFILE)
    assert installs
    assert all("-c constraints.txt" in line for line in installs)
