"""`ToolSpec`, and the pieces of JSON Schema that the specs are written with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_api.tools.times import TIME_FORMS

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool. Schemas are JSON Schema (2020-12); ``example`` is one valid set of arguments.

    ``read_only`` … ``open_world``: MCP's tool annotations, which hosts show and act upon.
    """

    name: str
    title: str
    description: str
    input_schema: Schema
    output_schema: Schema
    example: Mapping[str, Any]
    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool = False

    def definition(self) -> dict[str, Any]:
        """As MCP's ``tools/list`` shows it, with the example among the input schema's."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": {**self.input_schema, "examples": [dict(self.example)]},
            "outputSchema": self.output_schema,
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.read_only,
                "destructiveHint": self.destructive,
                "idempotentHint": self.idempotent,
                "openWorldHint": self.open_world,
            },
        }


def text_type(description: str = "", **more: object) -> Schema:
    """A string."""
    schema: Schema = {"type": "string", **more}
    return {**schema, "description": description} if description else schema


def object_type(properties: Schema, required: tuple[str, ...] = (), **more: object) -> Schema:
    """An object; what it has beside ``properties`` is free."""
    schema: Schema = {"type": "object", "properties": properties, **more}
    return {**schema, "required": list(required)} if required else schema


def input_type(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    """A tool's arguments: unknown ones are refused."""
    return object_type(properties, required, additionalProperties=False)


STRING: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
VALUE: Schema = {"type": ["number", "string"]}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
AS_OF = object_type({"time": {"type": ["string", "null"]}, "position": STRING}, ("position",))
RANGE = object_type({"start": STRING, "end": STRING})
START = text_type(f"{TIME_FORMS}; default -1h", maxLength=64)
END = text_type("Default now", maxLength=64)
MIN_POSITION = text_type("position of a write that the answer must include", maxLength=65_536)
