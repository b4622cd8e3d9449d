"""YAML as rule files use it: fields, lists and texts, each with its line.

A scalar is the text that was written, whatever YAML would make of it (``yes``, ``1e3``), as
Prometheus reads it. What has another shape is a `ValueError` with the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import yaml

DEPTH_MAX: Final = 32
"""Of lists and fields in each other."""

Fields = Mapping[str, yaml.Node]


def documents(text: str) -> Iterator[yaml.Node]:
    """The documents of a file that are not empty; `ValueError` where it is no YAML."""
    try:
        _check_depth(text)
        for node in yaml.compose_all(text, Loader=yaml.CSafeLoader):
            if not _is_empty(node):
                yield node
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def written(content: Mapping[str, object]) -> str:
    """A document, its fields in their order."""
    text: str = yaml.dump(
        content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text


def line_of(node: yaml.Node | yaml.Event) -> int:
    """Counted from 1."""
    line: int = node.start_mark.line + 1
    return line


def fields_of(node: yaml.Node) -> Fields:
    """By name, in their order; none of what is empty."""
    if _is_empty(node):
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"line {line_of(node)}: expected fields, not {_shape(node)}")
    fields: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = text_of(key)
        if name in fields:
            raise ValueError(f"line {line_of(key)}: {name} is there twice")
        fields[name] = value
    return fields


def items_of(node: yaml.Node) -> Sequence[yaml.Node]:
    """The items of a list; none of what is empty."""
    if _is_empty(node):
        return ()
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError(f"line {line_of(node)}: expected a list, not {_shape(node)}")
    items: Sequence[yaml.Node] = node.value
    return items


def text_of(node: yaml.Node) -> str:
    """A scalar as it was written; "" of what is empty."""
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"line {line_of(node)}: expected a text, not {_shape(node)}")
    return "" if _is_empty(node) else str(node.value)


def texts_of(node: yaml.Node) -> dict[str, str]:
    """Texts by name."""
    return {name: text_of(value) for name, value in fields_of(node).items()}


def _check_depth(text: str) -> None:
    """Before the nodes are made, which is native code that recurses without a limit."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            raise ValueError(f"line {line_of(event)}: it nests more than {DEPTH_MAX} levels")


def _is_empty(node: yaml.Node | None) -> bool:
    return node is None or node.tag == "tag:yaml.org,2002:null"


def _shape(node: yaml.Node) -> str:
    match node:
        case yaml.MappingNode():
            return "fields"
        case yaml.SequenceNode():
            return "a list"
        case _:
            return f"{node.value[:40]!r}"
