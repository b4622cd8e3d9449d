"""Functions that rewrite labels: ``label_replace`` and ``label_join``.

Semantics: Prometheus' documentation. Patterns are RE2's and must match the whole value; templates
are those of Go's ``Regexp.Expand``: ``$1``, ``${1}``, ``$name``, ``${name}``, ``$$``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from streams.errors import QueryError, QueryTooLarge
from streams.promql.frames import Argument, Context, Frame, Labels, VectorFunction
from streams.promql.labelsets import merged, with_label

TEXT_CHARS_MAX = 8 << 20
"""Characters that one call may put into labels, each part of a text counted as one more: calls
within calls would multiply their lengths."""

# What may stand in a pattern: an escape, a quotation, a class of characters, an opening bracket.
_PARTS = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\."
    r"|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]"
    r"|\((?P<special>\?(?:P?<(?P<name>\w+)>)?)?",
    re.DOTALL,
)
_REFERENCE = re.compile(r"\$(?:\$|\{(?P<braced>\w+)\}|(?P<plain>\w+))")


def label_replace(args: Sequence[Argument], context: Context) -> Frame:
    """``label_replace(v, target, template, source, pattern)``.

    Series whose source label the pattern matches get the target label from the template; an empty
    result removes it. The others stay as they are.
    """
    frame, target, template, source, pattern = args
    assert isinstance(frame, Frame)
    assert isinstance(target, str)
    assert isinstance(template, str)
    assert isinstance(source, str)
    assert isinstance(pattern, str)
    context.budget.spend(frame.value.size)
    values = [_value(labels, source) for labels in frame.labels]
    try:
        expanded = expand(pattern, template, sorted(set(values)))
    except pa.ArrowInvalid:
        raise QueryError(f"invalid regular expression in label_replace(): {pattern}") from None
    _check_label(target, "destination", "label_replace")
    labels = tuple(
        with_label(one, target, expanded[value]) if value in expanded else one
        for one, value in zip(frame.labels, values, strict=True)
    )
    return merged(Frame(labels, frame.value, frame.present))


def label_join(args: Sequence[Argument], context: Context) -> Frame:
    """``label_join(v, target, separator, *sources)``: the sources' values in one label."""
    frame, target, separator, *sources = args
    assert isinstance(frame, Frame)
    assert isinstance(target, str)
    assert isinstance(separator, str)
    context.budget.spend(frame.value.size)
    names = [name for name in sources if isinstance(name, str)]
    for name in names:
        _check_label(name, "source", "label_join")
    _check_label(target, "destination", "label_join")
    chars = 0
    labels = []
    for one in frame.labels:
        known = dict(one)
        parts = [known.get(name, "") for name in names]
        chars += sum(map(len, parts)) + len(parts) * (len(separator) + 1)
        _check_text(chars)
        labels.append(with_label(one, target, separator.join(parts)))
    return merged(Frame(tuple(labels), frame.value, frame.present))


def expand(pattern: str, template: str, texts: Sequence[str]) -> dict[str, str]:
    """The template filled in for each text that the pattern matches as a whole.

    `pyarrow.ArrowInvalid` where RE2 refuses the pattern, `QueryTooLarge` over `TEXT_CHARS_MAX`.

    >>> expand("(?P<host>.*):(.*)", "$host on $2", ["a:80", "b"])
    {'a:80': 'a on 80'}
    """
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    column = pa.array(texts, type=pa.string())
    column = column.filter(pc.match_substring_regex(column, _whole(pattern)))
    whole: list[str] = column.to_pylist()
    pieces = _pieces(template, _groups(pattern))
    _check_text(len(pieces) * len(whole))
    captured = {
        number: _captured(pattern, number, column) if number else whole
        for number in {piece for piece in pieces if isinstance(piece, int)}
    }
    columns = [
        captured[piece] if isinstance(piece, int) else [piece] * len(whole) for piece in pieces
    ]
    _check_text(sum(sum(map(len, texts)) for texts in columns))
    return dict(zip(whole, map("".join, zip(*columns, strict=True)), strict=True))


def _pieces(template: str, groups: Sequence[str]) -> list[str | int]:
    """The template's own texts, and the numbers of the groups between them; 0 is the whole."""
    pieces: list[str | int] = []
    place = 0
    for reference in _REFERENCE.finditer(template):
        pieces.append(template[place : reference.start()])
        place = reference.end()
        named = reference["braced"] or reference["plain"]
        if named is None:
            pieces.append("$")
        elif named == "0":
            pieces.append(0)
        elif number := _group_number(named, groups):
            pieces.append(number)
    return [*pieces, template[place:]]


def _whole(pattern: str) -> str:
    return f"^(?s:{pattern})$"


def _groups(pattern: str) -> list[str]:
    """The names of a pattern's capturing groups in their order, "" where one has none."""
    return [part["name"] or "" for part in _PARTS.finditer(pattern) if _captures(part)]


def _captures(part: re.Match[str]) -> bool:
    return part[0] == "(" or part["name"] is not None


def _group_number(named: str, groups: Sequence[str]) -> int:
    """0 where the pattern has no such group: it is then as if it had matched nothing."""
    if re.fullmatch("[1-9][0-9]*", named):
        return int(named) if int(named) <= len(groups) else 0
    return groups.index(named) + 1 if named in groups else 0


def _captured(pattern: str, number: int, column: pa.StringArray) -> list[str]:
    """What one group captured in each text; the others are made not to capture, as RE2's
    rewriting names groups by one digit."""
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    count = 0

    def keep_one(part: re.Match[str]) -> str:
        nonlocal count
        if not _captures(part):
            return part[0]
        count += 1
        return "(" if count == number else "(?:"

    single = _PARTS.sub(keep_one, pattern)
    found = pc.replace_substring_regex(column, _whole(single), r"\1", max_replacements=1)
    captured: list[str] = found.to_pylist()
    return captured


def _value(labels: Labels, name: str) -> str:
    return next((value for key, value in labels if key == name), "")


def _check_text(chars: int) -> None:
    if chars > TEXT_CHARS_MAX:
        raise QueryTooLarge(
            f"a function makes labels of more than {TEXT_CHARS_MAX} characters: "
            "select fewer series or make shorter labels"
        )


def _check_label(name: str, role: str, function: str) -> None:
    """Any non-empty UTF-8 is a label's name."""
    if not name:
        raise QueryError(f"invalid {role} label name in {function}(): {name}")


LABEL_FUNCTIONS: Mapping[str, VectorFunction] = {
    "label_join": label_join,
    "label_replace": label_replace,
}
