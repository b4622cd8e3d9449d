"""Checks a tool's arguments against its input schema, with errors that a caller can act on.

The part of JSON Schema that our specs use: type, properties, required, additionalProperties (false
or a schema), items, enum, pattern, minimum, maximum, maxLength, maxItems, maxProperties. A test
holds it against a full implementation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, cast

from streams.errors import InputError

Schema = Mapping[str, Any]

_TYPES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "string": ("a string", lambda v: isinstance(v, str)),
    "boolean": ("true or false", lambda v: isinstance(v, bool)),
    "integer": (
        "a whole number",
        lambda v: (
            (isinstance(v, int) and not isinstance(v, bool))
            or (isinstance(v, float) and v.is_integer())
        ),
    ),
    "number": (
        "a number",
        lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    ),
    "array": ("an array", lambda v: isinstance(v, list | tuple)),
    "object": ("an object", lambda v: isinstance(v, Mapping)),
}


def check_arguments(tool: str, schema: Schema, arguments: Mapping[str, object]) -> None:
    """Returns if ``arguments`` are valid; else raises `InputError` for the first that is not."""
    check_names(tool, schema, arguments)
    for name, value in arguments.items():
        _check(name, name, schema["properties"][name], value)


def check_names(tool: str, schema: Schema, arguments: Mapping[str, object]) -> None:
    """Only the top level's names: none unknown, none missing (for hot paths)."""
    properties = schema["properties"]
    for name in arguments:
        if name not in properties:
            raise InputError(
                f"{tool} has no argument {str(name)[:60]!r}; {nearest(str(name), properties)}",
                field=str(name)[:60],
            )
    for name in schema.get("required", ()):
        if name not in arguments:
            raise InputError(
                f"{tool} needs {name!r}: {_expected(properties[name])}",
                field=name,
            )


def nearest(got: str, valid: Iterable[str], *, shown_max: int = 12) -> str:
    """``did you mean 'x'? (valid: …)``, or only the valid ones where none is near.

    >>> nearest("metric", ["metric_name", "tags"])
    "did you mean 'metric_name'? (valid: metric_name, tags)"
    >>> nearest("zzz", [])
    'it takes none'
    """
    names = list(valid)
    if not names:
        return "it takes none"
    listed = ", ".join(map(_cut, names[:shown_max])) + (", …" if len(names) > shown_max else "")
    folded = {name.casefold(): name for name in names}
    close = get_close_matches(got.casefold()[:200], folded, n=1, cutoff=0.55)
    if not close:
        return f"valid: {listed}"
    return f"did you mean {_cut(folded[close[0]])!r}? (valid: {listed})"


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


def _check(path: str, field: str, schema: Schema, value: object) -> None:
    kinds = _kinds(schema)
    if kinds and not any(_TYPES[kind][1](value) for kind in kinds):
        raise InputError(f"{path} is {_shown(value)}; expected {_expected(schema)}", field=field)
    if "enum" in schema and value not in schema["enum"]:
        raise InputError(
            f"{path} is {_shown(value)}; {nearest(str(value), schema['enum'])}", field=field
        )
    match value:
        case str():
            _check_text(path, field, schema, value)
        case bool():
            pass
        case int() | float():
            low, high = schema.get("minimum", value), schema.get("maximum", value)
            if not low <= value <= high:
                raise InputError(
                    f"{path} is {_shown(value)}; expected {low} to {high}", field=field
                )
        case list() | tuple():
            _check_size(path, field, len(value), schema.get("maxItems"), "items")
            for index, item in enumerate(value):
                _check(f"{path}[{index}]", field, schema.get("items", {}), item)
        case Mapping():
            _check_object(path, field, schema, cast("Mapping[str, object]", value))
        case _:
            pass


def _check_text(path: str, field: str, schema: Schema, value: str) -> None:
    _check_size(path, field, len(value), schema.get("maxLength"), "characters")
    pattern = schema.get("pattern")
    # Our patterns are anchored; a search would let a line end pass behind `$`.
    if pattern is not None and not re.fullmatch(pattern, value):
        raise InputError(f"{path} is {_shown(value)}; expected {_expected(schema)}", field=field)


def _check_object(path: str, field: str, schema: Schema, value: Mapping[str, object]) -> None:
    _check_size(path, field, len(value), schema.get("maxProperties"), "entries")
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, item in value.items():
        where = f"{path}.{str(name)[:60]}"
        if name in properties:
            _check(where, field, properties[name], item)
        elif others is False:
            raise InputError(f"{where} is unknown; {nearest(str(name), properties)}", field=field)
        elif isinstance(others, Mapping):
            _check(where, field, others, item)
    for name in schema.get("required", ()):
        if name not in value:
            raise InputError(f"{path} lacks {name!r}", field=field)


def _check_size(path: str, field: str, size: int, size_max: int | None, what: str) -> None:
    if size_max is not None and size > size_max:
        raise InputError(f"{path} has {size} {what}; at most {size_max} are taken", field=field)


def _kinds(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _expected(schema: Schema) -> str:
    text = " or ".join(_TYPES[kind][0] for kind in _kinds(schema)) or "a value"
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "description" in schema:
        text += f" ({schema['description']})"
    return text


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "an object"
    if not isinstance(value, str | int | float):
        return "an array"
    if isinstance(value, int) and value.bit_length() > 256:
        return "a number far too large"  # repr refuses over 4,300 digits
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
