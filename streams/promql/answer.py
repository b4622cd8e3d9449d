"""What a query answers: columns, and what is to be said about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streams.promql.frames import Floats, Ints, Labels

Kind = Literal["vector", "matrix", "scalar", "string"]


@dataclass(frozen=True)
class Answer:
    """The samples of series ``s`` are ``offsets[s]`` to ``offsets[s + 1]`` of the columns.

    A ``vector`` has one sample a series; a ``scalar`` has one of a series without labels; a
    ``string`` has its ``text`` and no series. Series of a ``matrix`` are sorted by labels, those of
    a ``vector`` stand in the order of the expression's value.
    """

    kind: Kind
    labels: tuple[Labels, ...]
    offsets: Ints
    """[S + 1]"""
    at_ms: Ints
    """[N]"""
    value: Floats
    """[N]"""
    text: str
    warnings: tuple[str, ...]
    infos: tuple[str, ...]
