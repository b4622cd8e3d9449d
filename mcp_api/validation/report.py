"""What was found, as a table for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from mcp_api.validation.outcome import Check

_SIGNS = {"ok": ("✓", "green"), "failed": ("✗", "bold red"), "skipped": ("–", "dim")}


def failures(checks: Sequence[Check]) -> int:
    """How many checks failed; what was skipped is none."""
    return sum(check.outcome.state == "failed" for check in checks)


def table(checks: Sequence[Check]) -> Table:
    """A line a check, and under each that failed what to do."""
    told = Table(box=None, show_header=False, pad_edge=False)
    told.add_column(no_wrap=True)
    told.add_column(no_wrap=True, style="dim")
    told.add_column(no_wrap=True)
    told.add_column(overflow="fold")
    part = ""
    for check in checks:
        sign, style = _SIGNS[check.outcome.state]
        text = Text(_plain(check.outcome.text))
        if check.outcome.todo and check.outcome.state == "failed":
            text.append(f"\n→ {_plain(check.outcome.todo)}", "yellow")
        first = "" if check.part == part else check.part
        told.add_row(Text(sign, style), first, check.name, text)
        part = check.part
    return told


def summary(checks: Sequence[Check]) -> str:
    """One sentence."""
    failed = failures(checks)
    if failed:
        return f"{failed} of {len(checks)} checks failed."
    skipped = sum(check.outcome.state == "skipped" for check in checks)
    passed = len(checks) - skipped
    return f"All is well: {passed} checks passed, {skipped} did not apply."


def content(checks: Sequence[Check]) -> dict[str, Any]:
    """``valid`` and every check: part, name, state (ok, failed, skipped), text, todo, data,
    seconds."""
    return {
        "valid": failures(checks) == 0,
        "checks": [
            {
                "part": check.part,
                "name": check.name,
                "state": check.outcome.state,
                "text": check.outcome.text,
                "todo": check.outcome.todo,
                "data": dict(check.outcome.data),
                "seconds": round(check.seconds, 3),
            }
            for check in checks
        ],
    }


def _plain(text: str) -> str:
    """What others told may not steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)
