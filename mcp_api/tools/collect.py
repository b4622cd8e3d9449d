"""`collect_metrics`: parsed points to the edge, and what became of them."""

from __future__ import annotations

from typing import Any

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.positions import position_token
from mcp_api.tools.text import collect_text
from mcp_api.tools.times import iso
from streams.ingest.edge import Collected, Edge
from streams.ingest.parsed import Parsed, Rejected

REJECTED_SHOWN_MAX = 50
_REASON_CHARS_MAX = 300


async def collect(
    edge: Edge, parsed: Parsed, *, actor: str, request_key: str | None = None
) -> ToolAnswer:
    """Durable when it returns. Good points are kept beside bad ones; where every point is bad the
    answer is an error, and nothing is written. Raises what `Edge.collect` raises.
    """
    return collect_answer(await edge.collect(parsed, actor=actor, request_key=request_key))


def collect_answer(collected: Collected) -> ToolAnswer:
    """The answer; at most 50 rejections are listed, ``rejected_count`` is their true number."""
    position = position_token(collected.positions)
    time = iso(collected.at_ms)
    rejected = collected.rejected[:REJECTED_SHOWN_MAX]
    failed = collected.rejected_count > 0 and collected.collected_count == 0
    content: dict[str, Any] = {
        "status": "error" if failed else "success",
        "collected_count": collected.collected_count,
        "source": collected.source,
        "timestamp": time,
        "position": position,
        "rejected": [{"index": r.index, "reason": r.reason[:_REASON_CHARS_MAX]} for r in rejected],
        "rejected_count": collected.rejected_count,
        "truncated": len(rejected) < collected.rejected_count,
        "as_of": {"time": time, "position": position},
    }
    if collected.duplicate:
        content["duplicate"] = True
    if failed:
        content["error"] = {"message": _all_refused(collected.rejected, collected.rejected_count)}
    return ToolAnswer(content, collect_text(content), is_error=failed)


def _all_refused(rejected: tuple[Rejected, ...], count: int) -> str:
    first = rejected[0]
    reason = f"metrics[{first.index}]: {first.reason[:_REASON_CHARS_MAX]}"
    return reason if count == 1 else f"all {count} points were refused; the first, {reason}"
