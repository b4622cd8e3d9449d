r"""One line of InfluxDB's line protocol, read in full: escapes, strings, every kind of number.

``measurement[,tag=value…] field=value[,field=value…] [timestamp]``, as
https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/ has it. A backslash escapes
a comma, a blank and (in tags and field names) an equals sign, and before anything else it stands
for itself; in strings it escapes a quote and itself. A string may hold a line feed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Final

from streams.ingest.parsed import shown

STRING_CHARS_MAX: Final = 65_536
"""How far a string's end is looked for over the ends of lines."""

_NAME = re.compile(r"(?:[^\\, \n]++|\\[^\n]?)++")
_KEY = re.compile(r"(?:[^\\,= \n]++|\\[^\n]?)++")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BARE = re.compile(r"[^ ,\n]++")
_TIME = re.compile(r"-?[0-9]+")
_END = re.compile(r"[ \t]*\r?(?=\n|\Z)")
_FLOAT = re.compile(r"-?(?:[0-9]++(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"(-?[0-9]{1,20})i|([0-9]{1,20})u")
_BOOLEANS: Final = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), 0.0),
}


@dataclass(frozen=True, slots=True)
class Line:
    """``head``: measurement and tags as they were written; ``fields``: only what is a number.

    ``stamp``: as written, in whatever precision; None where the line has none.
    """

    head: str
    fields: tuple[tuple[str, float], ...]
    stamp: int | None


def lines(text: str) -> Iterator[tuple[int, str, Line | str]]:
    """Each line's number from 1 on, its text, and what it says or why it says nothing.

    Blank lines and comments are left out. A string that never ends spoils its own line only.
    """
    number, start = 1, 0
    while start < len(text):
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        begin = number
        sent = text[start:stop]
        if sent.strip() and not sent.lstrip().startswith("#"):
            line, read_to = _read(text, start, stop)
            if read_to > stop:
                stop = read_to
                sent = text[start:stop]
                number += sent.count("\n")
            yield begin, sent, line
        number += 1
        start = stop + 1


def head_parts(head: str) -> tuple[str, dict[str, str]]:
    r"""Measurement and tags of a head, without their escapes; `ValueError` where it is none.

    >>> head_parts(r"cpu\ load,host=a\,b")
    ('cpu load', {'host': 'a,b'})
    """
    match = _NAME.match(head)
    if match is None:
        raise ValueError("the measurement is missing")
    measurement, place = plain(match[0], ", "), match.end()
    tags: dict[str, str] = {}
    while place < len(head):
        key = _KEY.match(head, place + 1)
        if key is None:
            raise ValueError(f"a tag of {shown(measurement)} has no name")
        value = _KEY.match(head, key.end() + 1) if head[key.end() : key.end() + 1] == "=" else None
        if value is None:
            raise ValueError(f"tag {shown(plain(key[0], ', ='))} has no value")
        if head[value.end() : value.end() + 1] not in ("", ","):
            raise ValueError(
                f"tag {shown(plain(key[0], ', ='))} holds a bare equals sign; write \\="
            )
        name = plain(key[0], ", =")
        if name in tags:
            raise ValueError(f"tag {shown(name)} stands twice")
        tags[name] = plain(value[0], ", =")
        place = value.end()
    return measurement, tags


def plain(text: str, special: str) -> str:
    r"""Without the backslashes before ``special`` characters.

    >>> plain(r"a\,b\c", ", ")
    'a,b\\c'
    """
    if "\\" not in text:
        return text
    return re.sub(rf"\\([{re.escape(special)}])", r"\1", text)


def _read(text: str, start: int, stop: int) -> tuple[Line | str, int]:
    """The line at ``start``, whose first end of line is at ``stop``; and where it ends."""
    if (plain_line := _quick(text[start:stop])) is not None:
        return plain_line, stop
    try:
        line, end = _parse(text, start, min(len(text), stop + STRING_CHARS_MAX))
    except ValueError as error:
        return str(error), stop
    return line, end


def _quick(sent: str) -> Line | None:
    """A line without escapes and strings, one blank between its parts; None: read it in full."""
    parts = sent.split(" ")
    if "\\" in sent or '"' in sent or not 2 <= len(parts) <= 3 or not parts[0]:
        return None
    fields = []
    for pair in parts[1].split(","):
        name, _, written = pair.partition("=")
        if not name or not _FLOAT.fullmatch(written) or not isfinite(value := float(written)):
            return None
        fields.append((name, value))
    if len(parts) == 2:
        return Line(parts[0], tuple(fields), None)
    if not _TIME.fullmatch(parts[2]) or len(parts[2]) > 20:
        return None
    return Line(parts[0], tuple(fields), int(parts[2]))


def _parse(text: str, start: int, limit: int) -> tuple[Line, int]:
    while text[start : start + 1] in (" ", "\t"):
        start += 1
    place = start
    fields: list[tuple[str, float]] = []
    place = _head_end(text, start)
    head = text[start:place]
    place = _blanks(text, place)
    while True:
        key = _KEY.match(text, place)
        if key is None or text[key.end() : key.end() + 1] != "=":
            raise ValueError(
                "a field is missing; a line is: measurement,tag=value field=value timestamp"
            )
        name = plain(key[0], ", =")
        place = key.end() + 1
        if text[place : place + 1] == '"':
            string = _STRING.match(text, place, limit)
            if string is None:
                raise ValueError(f"the string of field {shown(name)} does not end")
            place = string.end()
        else:
            bare = _BARE.match(text, place)
            if bare is None:
                raise ValueError(f"field {shown(name)} has no value")
            place = bare.end()
            written = bare[0]
            if text[place : place + 1] in ("\n", ""):
                written = written.removesuffix("\r")
            fields.append((key[0], _number(name, written)))
        if text[place : place + 1] != ",":
            break
        place += 1
    stamp, place = _stamp(text, place)
    return Line(head, tuple(fields), stamp), place


def _head_end(text: str, start: int) -> int:
    """Where the first blank lies that no backslash escapes."""
    place = start
    while match := _NAME.match(text, place):
        place = match.end()
        if text[place : place + 1] != ",":
            break
        place += 1
    if place == start:
        raise ValueError("the measurement is missing")
    return place


def _stamp(text: str, place: int) -> tuple[int | None, int]:
    begin = _blanks(text, place)
    stamp = _TIME.match(text, begin) if begin > place else None
    place = stamp.end() if stamp else place
    end = _END.match(text, place)
    if end is None:
        rest = text[begin:].split("\n", 1)[0]
        raise ValueError(f"the timestamp is {shown(rest)}; expected an integer, or nothing")
    if stamp is not None and len(stamp[0]) > 20:
        raise ValueError("the timestamp has over 20 digits")
    return None if stamp is None else int(stamp[0]), end.end()


def _blanks(text: str, place: int) -> int:
    while text[place : place + 1] == " ":
        place += 1
    return place


def _number(name: str, written: str) -> float:
    if _FLOAT.fullmatch(written):
        value = float(written)
        if isfinite(value):
            return value
    elif match := _INTEGER.fullmatch(written):
        number = int(match[1] or match[2])
        if (-(2**63) <= number < 2**63) if match[1] else number < 2**64:
            return float(number)
    elif written in _BOOLEANS:
        return _BOOLEANS[written]
    raise ValueError(
        f"field {shown(name)} is {shown(written)}; expected a number such as 1.5, an integer such "
        "as 2i or 2u, true, false, or a string in quotes (which is left out)"
    )
