"""`ToolAnswer`: what every tool returns, whatever the transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """``content``: JSON-able, valid against the tool's output schema. ``text``: the same for a
    model that sees no structured content, shortened. ``is_error``: nothing was done.
    ``image_png``: a picture beside the numbers. ``link``: a url from which to stream the rest."""

    content: dict[str, Any]
    text: str
    is_error: bool = False
    image_png: bytes | None = None
    link: str | None = None
