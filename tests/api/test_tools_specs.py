"""The definitions that clients list: small, strict, and true."""

from __future__ import annotations

import json

import jsonschema
import mcp_types
import pytest

from mcp_api.tools.arguments import check_arguments
from mcp_api.tools.specs import SPECS

TOKENS_MAX = 6_000


def test_all_definitions_together_are_small() -> None:
    text = json.dumps([spec.definition() for spec in SPECS], separators=(",", ":"))
    assert len(text) / 4 <= TOKENS_MAX


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_schemas_are_valid_and_the_input_is_strict(spec) -> None:
    for schema in (spec.input_schema, spec.output_schema):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
    assert spec.input_schema["additionalProperties"] is False


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_example_is_valid(spec) -> None:
    jsonschema.validate(spec.example, spec.input_schema)
    check_arguments(spec.name, spec.input_schema, spec.example)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_definition_is_one_of_mcp(spec) -> None:
    tool = mcp_types.Tool.model_validate(spec.definition())
    assert tool.name == spec.name
    assert tool.title
    assert tool.description
    assert tool.annotations is not None
    assert tool.annotations.read_only_hint is spec.read_only


def test_only_what_writes_is_not_read_only_and_only_what_deletes_destroys() -> None:
    writing = [spec.name for spec in SPECS if not spec.read_only]
    assert writing == ["collect_metrics", "health_check", "create_alert", "manage_alerts"]
    assert [spec.name for spec in SPECS if spec.destructive] == ["manage_alerts"]
    assert [spec.name for spec in SPECS if spec.open_world] == ["health_check"]
    assert all(spec.idempotent for spec in SPECS if spec.read_only)


def test_the_tools_are_the_eight_of_the_contract() -> None:
    assert [spec.name for spec in SPECS] == [
        "collect_metrics",
        "query_metrics",
        "health_check",
        "create_alert",
        "manage_alerts",
        "system_overview",
        "export_metrics",
        "get_server_status",
    ]
