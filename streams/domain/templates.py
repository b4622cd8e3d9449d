"""Annotation templates: the part of Go's template language that Prometheus' users write.

https://prometheus.io/docs/prometheus/latest/configuration/template_reference/: ``{{ $labels.x }}``,
``{{ $value }}``, ``.Labels``, ``.Value``, pipes, ``if``, ``with``, ``else``, ``end`` and the
functions of `streams.domain.template_functions`. What is beyond that (queries, loops, variables,
regular expressions, what is external) is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, assert_never

from streams.domain.template_functions import FUNCTIONS, Value, text_of, truth
from streams.errors import InputError

TEMPLATE_CHARS_MAX: Final = 4_096
EXPANDED_CHARS_MAX: Final = 8_192
DEPTH_MAX: Final = 16
"""Of blocks and of parentheses, each."""

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    |(?P<number>[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?)
    |(?P<variable>\$[A-Za-z_][A-Za-z0-9_]*)
    |(?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
    |(?P<dot>\.)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>[()|]|:=|=|,))""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


class TemplateError(InputError):
    """A text that is no template, or uses what is not supported; one sentence."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A value that is there, ``$labels``, ``$value`` or ``.``, and fields of it."""

    root: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Literal:
    value: Value


@dataclass(frozen=True, slots=True)
class _Apply:
    name: str
    arguments: tuple[_Operand, ...]


_Operand = _Look | _Literal | _Apply


@dataclass(frozen=True, slots=True)
class _Block:
    """``if``, or ``with``: that one changes the dot."""

    changes_dot: bool
    condition: _Operand
    then: tuple[_Node, ...]
    otherwise: tuple[_Node, ...]


_Node = str | _Look | _Literal | _Apply | _Block


def expand(text: str, labels: Mapping[str, str], value: float) -> str:
    """The text for one alert. Never raises: what goes wrong is told in its place, in ``<…>``.

    A label that is not there is an empty text. Cut at 8,192 characters.

    >>> expand("{{ $labels.host }} at {{ $value | humanize }} %", {"host": "a"}, 93.1234)
    'a at 93.12 %'
    """
    try:
        nodes = _parsed(text)
    except TemplateError as problem:
        return f"<error in template: {problem}>"[:EXPANDED_CHARS_MAX]
    known = {"$labels": labels, "$value": float(value)}
    parts: list[str] = []
    _write(nodes, known, {"Labels": labels, "Value": float(value)}, parts)
    expanded = "".join(parts)
    return (
        expanded
        if len(expanded) <= EXPANDED_CHARS_MAX
        else expanded[: EXPANDED_CHARS_MAX - 1] + "…"
    )


def template_problem(text: str) -> str:
    """Why `expand` would not take the text, as a sentence; "" where it does.

    >>> template_problem("{{ query \\"up\\" | first }}")
    'the template function query is not supported'
    """
    try:
        _parsed(text)
    except TemplateError as problem:
        return str(problem)
    return ""


def _write(
    nodes: Sequence[_Node], known: Mapping[str, Value], dot: Value, parts: list[str]
) -> None:
    for node in nodes:
        try:
            match node:
                case str():
                    parts.append(node)
                case _Block(changes_dot, condition, then, otherwise):
                    value = _value(condition, known, dot)
                    if truth(value):
                        _write(then, known, value if changes_dot else dot, parts)
                    else:
                        _write(otherwise, known, dot, parts)
                case _:
                    parts.append(text_of(_value(node, known, dot)))
        except (ValueError, TypeError, OverflowError) as problem:
            parts.append(f"<error in template: {problem}>")


def _value(node: _Operand, known: Mapping[str, Value], dot: Value) -> Value:
    match node:
        case _Literal(value):
            return value
        case _Look(root, fields):
            value = dot if root == "." else known[root]
            for field in fields:
                if not isinstance(value, Mapping):
                    raise ValueError(f"{text_of(value)!r} has no field {field}")
                value = value.get(field, "")
            return value
        case _Apply(name, arguments):
            return FUNCTIONS[name][0](*(_value(each, known, dot) for each in arguments))
        case _:
            assert_never(node)


@lru_cache(maxsize=4_096)
def _parsed(text: str) -> tuple[_Node, ...]:
    if len(text) > TEMPLATE_CHARS_MAX:
        raise TemplateError(
            f"a template of {len(text)} characters; at most {TEMPLATE_CHARS_MAX} are taken"
        )
    return _Blocks(text).parsed()


class _Blocks:
    """The text cut into what stands between ``{{ }}``, and the blocks that these make."""

    def __init__(self, text: str) -> None:
        self._parts: list[tuple[str, str]] = []
        place, trims = 0, False
        for match in _ACTION.finditer(text):
            plain = text[place : match.start()]
            plain = plain.lstrip() if trims else plain
            self._parts.append(("", plain.rstrip() if match[1] else plain))
            self._parts.append(("action", match[2].strip()))
            place, trims = match.end(), match[3] is not None
        rest = text[place:]
        if "{{" in rest:
            raise TemplateError("a template has {{ without }}")
        self._parts.append(("", rest.lstrip() if trims else rest))
        self._next = 0

    def parsed(self) -> tuple[_Node, ...]:
        nodes, ended = self._nodes(0)
        if ended:
            raise TemplateError(f"a template has {{{{ {ended} }}}} without an if or with")
        return nodes

    def _nodes(self, depth: int) -> tuple[tuple[_Node, ...], str]:
        """Up to ``end``, ``else …`` or the end of the text; and which of these."""
        nodes: list[_Node] = []
        while self._next < len(self._parts):
            kind, text = self._parts[self._next]
            self._next += 1
            word, rest = (*text.split(None, 1), "", "")[:2]
            if not kind:
                nodes.append(text)
            elif text.startswith("/*") and text.endswith("*/"):
                continue
            elif word in ("end", "else"):
                return tuple(nodes), text
            elif word in ("if", "with"):
                nodes.append(self._block(word, rest, depth + 1))
            elif word in ("range", "define", "template", "block", "break", "continue"):
                raise TemplateError(f"{{{{ {word} }}}} is not supported in templates")
            else:
                nodes.append(_Pipeline(text).parsed())
        return tuple(nodes), ""

    def _block(self, word: str, condition: str, depth: int) -> _Block:
        if depth > DEPTH_MAX:
            raise TemplateError(f"a template nests more than {DEPTH_MAX} blocks")
        asked = _Pipeline(condition).parsed()
        then, ended = self._nodes(depth)
        otherwise: tuple[_Node, ...] = ()
        if ended.startswith("else"):
            again, rest = (*ended.split(None, 2)[1:], "", "")[:2]
            if again in ("if", "with"):
                return _Block(word == "with", asked, then, (self._block(again, rest, depth + 1),))
            if again:
                raise TemplateError(f"{{{{ {ended} }}}} is not valid in a template")
            otherwise, ended = self._nodes(depth)
        if ended != "end":
            raise TemplateError(f"a template has {{{{ {word} }}}} without {{{{ end }}}}")
        return _Block(word == "with", asked, then, otherwise)


class _Pipeline:
    """One expression: operands, calls, pipes, parentheses."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                raise TemplateError(f"{{{{ {text:.60} }}}} is not valid in a template")
            assert match.lastgroup is not None
            glued = match.start(match.lastgroup) == place and place > 0
            kind = match.lastgroup
            self._tokens.append(("path" if kind == "field" and glued else kind, match[kind]))
            place = match.end()
        self._next = 0

    def parsed(self) -> _Operand:
        node = self._pipe(0)
        if self._next < len(self._tokens):
            raise self._invalid()
        return node

    def _pipe(self, depth: int) -> _Operand:
        if depth > DEPTH_MAX:
            raise TemplateError(f"a template nests more than {DEPTH_MAX} parentheses")
        node = self._command(depth, ())
        while self._takes("|"):
            if self._kind() != "word":
                raise self._invalid()
            node = self._command(depth, (node,))
        return node

    def _command(self, depth: int, piped: tuple[_Operand, ...]) -> _Operand:
        if self._kind() != "word" or self._tokens[self._next][1] in ("true", "false"):
            return self._operand(depth)
        name = self._tokens[self._next][1]
        self._next += 1
        if name not in FUNCTIONS:
            raise TemplateError(f"the template function {name} is not supported")
        arguments: list[_Operand] = []
        while self._kind() in ("text", "number", "variable", "field", "dot", "word") or (
            self._next < len(self._tokens) and self._tokens[self._next][1] == "("
        ):
            arguments.append(self._operand(depth))
        arguments += piped
        _, least, most = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise TemplateError(
                f"the template function {name} takes {wanted} arguments, not {len(arguments)}"
            )
        return _Apply(name, tuple(arguments))

    def _operand(self, depth: int) -> _Operand:
        if self._takes("("):
            node = self._pipe(depth + 1)
            if not self._takes(")"):
                raise self._invalid()
            return node
        kind = self._kind()
        if not kind:
            raise self._invalid()
        text = self._tokens[self._next][1]
        self._next += 1
        match kind:
            case "text":
                return _Literal(_unquoted(text))
            case "number":
                return _Literal(float(text))
            case "variable":
                if text not in ("$labels", "$value"):
                    raise TemplateError(f"the template variable {text} is not supported")
                return _Look(text, self._path())
            case "field":
                return _Look(".", (text[1:], *self._path()))
            case "dot":
                return _Look(".", ())
            case "word" if text in ("true", "false"):
                return _Literal(text == "true")
            case "word" if text in FUNCTIONS:
                raise TemplateError(f"put the template function {text} into parentheses")
            case "word":
                raise TemplateError(f"the template function {text} is not supported")
            case _:
                raise self._invalid()

    def _path(self) -> tuple[str, ...]:
        fields: list[str] = []
        while self._kind() == "path":
            fields.append(self._tokens[self._next][1][1:])
            self._next += 1
        return tuple(fields)

    def _kind(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _takes(self, sign: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next] == ("sign", sign):
            self._next += 1
            return True
        return False

    def _invalid(self) -> TemplateError:
        if any(token == ("sign", ":=") for token in self._tokens):
            return TemplateError("variables of its own are not supported in a template")
        return TemplateError(f"{{{{ {self._text:.60} }}}} is not valid in a template")


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]

    def character(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise TemplateError(f"the escape {match[0]} is not supported in a template")
        return _ESCAPES[match[1]]

    return _ESCAPE.sub(character, text[1:-1])
