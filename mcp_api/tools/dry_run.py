"""What a rule would have done over a past range, tried out: nothing is created, nobody is told."""

from __future__ import annotations

import threading
import time
from asyncio import CancelledError
from functools import partial
from typing import Any

from mcp_api.tools.alert_parts import AlertParts
from mcp_api.tools.commanded import Asked
from mcp_api.tools.times import iso, parse_time
from mcp_api.tools.values import as_of_content
from projections.backtest_report import Backtest, Firing
from streams.domain.durations import duration_text
from streams.events.rules import Rule

START = "-24h"
BUDGET_S = 20.0
"""A range that takes longer is tried out as far as it came."""
FIRINGS_SHOWN = 10


async def tried_out(parts: AlertParts, asked: Asked, rule: Rule) -> dict[str, Any]:
    """``backtest``, ``range`` and ``as_of``, from the arguments ``start_time`` and ``end_time``.

    A caller that goes away ends it. `InputError` as of `projections.backtest.Backtests.run`.
    """
    arguments, now_ms = asked.arguments, asked.now_ms
    start_ms = parse_time(arguments.get("start_time", START), now_ms, "start_time")
    end_ms = parse_time(arguments.get("end_time", "now"), now_ms, "end_time")
    left = threading.Event()
    give_up = time.monotonic() + BUDGET_S

    def cancelled() -> bool:
        return left.is_set() or time.monotonic() > give_up

    as_of = as_of_content(parts.queries.as_of())
    run = partial(parts.backtests.run, rule, start_ms, end_ms, cancelled=cancelled)
    try:
        found = await parts.in_thread(run)
    except CancelledError:
        left.set()
        raise
    return {
        "backtest": backtest_content(found),
        "range": {"start": iso(start_ms), "end": iso(end_ms)},
        "as_of": as_of,
    }


def backtest_content(found: Backtest) -> dict[str, Any]:
    """As JSON, with the first `FIRINGS_SHOWN` firings and the gist as ``text``."""
    told, difference = found.notifications, found.difference
    content: dict[str, Any] = {
        "text": _text(found),
        "firings": found.firings,
        "alerts": found.series,
        "firing_time": duration_text(found.firing_ms),
        "longest": duration_text(found.longest_ms),
        "flaps": found.flaps,
        "nearly": found.nearly,
        "no_data": found.no_data,
        "evaluations": found.evaluations,
        "step": duration_text(found.step_ms),
        "notifications": dict(told.receivers),
        "held_back": dict(told.suppressed),
        "first_firings": [_firing(one) for one in found.kept[:FIRINGS_SHOWN]],
        "difference": {
            "happened": difference.happened,
            "same": difference.same,
            "only_in_backtest": len(difference.only_now),
            "only_in_reality": len(difference.only_then),
        },
    }
    if found.failed:
        content |= {"failed_evaluations": found.failed, "problem": found.problem[:300]}
    if found.exceeded:
        content["too_many_series"] = found.exceeded
    if found.data_from_ms is not None:
        content["data_from"] = iso(found.data_from_ms)
    if found.until_ms < found.end_ms - found.step_ms:
        content["ended_at"] = iso(found.until_ms)
    return content


def _text(found: Backtest) -> str:
    if found.data_from_ms is None and not found.firings:
        return "no sample that the condition reads lies in the range, so nothing can be said"
    often = "once" if found.firings == 1 else f"{found.firings} times"
    text = (
        f"it would have fired {often}, for {found.series} alerts and "
        f"{duration_text(found.firing_ms)} in all, the longest {duration_text(found.longest_ms)}; "
        f"{found.flaps} of them soon again after an end; {found.nearly} nearly fired"
    )
    if found.data_from_ms is not None and found.data_from_ms > found.start_ms:
        text += f"; the samples that it reads begin at {iso(found.data_from_ms)}"
    if found.until_ms < found.end_ms - found.step_ms:
        text += f"; tried out up to {iso(found.until_ms)} only, for want of time"
    if found.failed:
        text += f"; {found.failed} evaluations failed: {found.problem[:200]}"
    return text


def _firing(one: Firing) -> dict[str, Any]:
    return {
        "labels": {k: v for k, v in one.labels.items() if k not in {"alertname", "severity"}},
        "from": iso(one.fired_ms),
        "to": None if one.ended_ms is None else iso(one.ended_ms),
        "reason": one.reason[:200],
    }
