"""What a check answers: `Outcome`; and `Check`, one that was made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from streams.errors import LogfireMcpError

State = Literal["ok", "failed", "skipped"]

TEXT_CHARS_MAX = 400

Tell = Callable[[str], None]
"""Told what a long step is at."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``text``: what was found. ``todo``: what to do about it, of what failed. ``data``: the same
    for machines."""

    state: State
    text: str
    todo: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a ``part`` of the installation and what it took."""

    part: str
    name: str
    outcome: Outcome
    seconds: float


def ok(text: str, **data: Any) -> Outcome:
    """All is well."""
    return Outcome("ok", text, data=data)


def failed(text: str, todo: str, **data: Any) -> Outcome:
    """It is not, and what to do."""
    return Outcome("failed", text, todo, data)


def skipped(text: str) -> Outcome:
    """There is nothing to check, or nobody asked; and why."""
    return Outcome("skipped", text)


def look(part: str, name: str, work: Callable[[], Outcome], todo: str = "") -> Check:
    """Makes the check. An error of ours or of the system is its failure: ``todo`` says what to do
    then, where the error's own sentence does not. Texts are cut at 400 characters."""
    begun = time.monotonic()
    try:
        outcome = work()
    except (LogfireMcpError, OSError) as error:
        outcome = failed(str(error) or type(error).__name__, todo)
    if len(outcome.text) > TEXT_CHARS_MAX:
        text = f"{outcome.text[: TEXT_CHARS_MAX - 1]}…"
        outcome = Outcome(outcome.state, text, outcome.todo, outcome.data)
    return Check(part, name, outcome, time.monotonic() - begun)
