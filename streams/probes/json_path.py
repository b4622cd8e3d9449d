"""A small part of JSONPath (RFC 9535): the root, names, indexes and ``*``. Pure.

Of our own, in 60 lines: filters and descendants let a path take time without bound in a body that a
stranger sends, and no library leaves them out. A path here takes one step a value that it reaches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from streams.errors import InputError

PATH_CHARS_MAX: Final = 500
STEPS_MAX: Final = 20

Step = str | int | None
"""A name, an index, or None for every child."""

_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*)
      | \.(?P<all>\*) | \[\s*(?P<every>\*)\s*\]
      | \[\s*(?P<index>-?(?:0|[1-9]\d{0,8}))\s*\]
      | \[\s*'(?P<single>(?:[^'\\]|\\.)*)'\s*\]
      | \[\s*(?P<double>"(?:[^"\\]|\\.)*")\s*\]""",
    re.VERBOSE,
)


def parse_path(text: str) -> tuple[Step, ...]:
    """Raises `InputError` (field ``body_path``) with the column of what is not supported.

    >>> parse_path("$.checks[0]['state']")
    ('checks', 0, 'state')
    """
    if len(text) > PATH_CHARS_MAX:
        raise _invalid(f"{len(text)} characters; at most {PATH_CHARS_MAX}")
    if not text.startswith("$"):
        raise _invalid(f"{text[:40]!r} does not begin with $")
    steps: list[Step] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise _invalid(f"column {at + 1}: write .name, ['name'], [0] or [*]")
        steps.append(_step(match))
        at = match.end()
    if len(steps) > STEPS_MAX:
        raise _invalid(f"{len(steps)} steps; at most {STEPS_MAX}")
    return tuple(steps)


def find(steps: Iterable[Step], document: Any) -> list[Any]:
    """Every value that the path reaches, in the document's order; [] where there is none.

    >>> find(parse_path("$.checks[*].state"), {"checks": [{"state": "up"}, {}]})
    ['up']
    """
    found = [document]
    for step in steps:
        found = [child for value in found for child in _children(step, value)]
    return found


def _children(step: Step, value: Any) -> list[Any]:
    match step, value:
        case None, list():
            return list(value)
        case None, dict():
            return list(value.values())
        case str(), dict() if step in value:
            return [value[step]]
        case int(), list() if -len(value) <= step < len(value):
            return [value[step]]
        case _:
            return []


def _step(match: re.Match[str]) -> Step:
    if match["index"] is not None:
        return int(match["index"])
    if match["single"] is not None:
        return re.sub(r"\\(['\\])", r"\1", match["single"])
    if match["double"] is not None:
        try:
            name: str = json.loads(match["double"])
        except ValueError:
            raise _invalid(f"{match['double'][:40]} is not a JSON string") from None
        return name
    return match["name"]


def _invalid(what: str) -> InputError:
    return InputError(f"body_path: {what}", field="body_path")
