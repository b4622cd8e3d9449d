"""Topics to which anybody may write with a Kafka client of their own, and what they write there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

TOPICS_MAX: Final = 64

Format = Literal["json", "influx"]
Precision = Literal["ns", "us", "ms", "s"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_LIKE = "telegraf=influx, shop=json or plc=influx:ms (ns, us, ms or s)"


@dataclass(frozen=True, slots=True)
class IngestTopic:
    """``name``: the broker's, without a prefix. ``precision``: of the times of line protocol."""

    name: str
    format: Format
    precision: Precision = "ns"

    def __str__(self) -> str:
        fine = self.format == "json" or self.precision == "ns"
        return f"{self.name}={self.format}" + ("" if fine else f":{self.precision}")


def read_topics(value: Any) -> Any:
    """The topics of ``name=format[:precision], …``; `ValueError` with what is valid.

    >>> [str(topic) for topic in read_topics("shop=json, plc=influx:ms")]
    ['shop=json', 'plc=influx:ms']
    """
    if not isinstance(value, str):
        return value
    topics = tuple(_read_topic(part.strip()) for part in value.split(",") if part.strip())
    check_topics(topics)
    return topics


def check_topics(topics: Sequence[IngestTopic]) -> None:
    """`ValueError` for too many, or for one that is given twice."""
    if len(topics) > TOPICS_MAX:
        raise ValueError(f"at most {TOPICS_MAX} topics")
    names = [topic.name for topic in topics]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"each topic once; {name} is given twice")


def _read_topic(text: str) -> IngestTopic:
    name, given, rest = (part.strip() for part in text.partition("="))
    form, _, precision = (part.strip() for part in rest.partition(":"))
    if not given or not name:
        raise ValueError(f"a topic is like {_LIKE}, not {text!r}")
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"a topic's name has letters, digits, '.', '_' and '-', not {name!r}")
    if form not in get_args(Format):
        raise ValueError(f"the format of {name} is json or influx, not {form!r}")
    if precision and form == "json":
        raise ValueError(f"{name} is json, which has no precision: its times say what they are")
    if precision not in ("", *get_args(Precision)):
        raise ValueError(f"the precision of {name} is ns, us, ms or s, not {precision!r}")
    return IngestTopic(name, form, precision or "ns")  # type: ignore[arg-type]  # checked above
