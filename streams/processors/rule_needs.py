"""What samples rules ask for: looked up by the texts of their expressions."""

from __future__ import annotations

from functools import lru_cache

from streams.domain.rules import Needs, needs
from streams.errors import QueryError
from streams.events.rules import Rule

NOTHING = Needs((), 0)


def needs_of(rule: Rule) -> Needs:
    """The selectors of a rule and how old their samples may be; nothing for one that is disabled,
    or cannot be evaluated (whoever evaluates it tells why)."""
    return _needs(rule.condition, rule.clear_condition) if rule.enabled else NOTHING


@lru_cache(maxsize=32_768)
def _needs(condition: str, clear_condition: str) -> Needs:
    texts = Rule(id="", version=0, name="", condition=condition, clear_condition=clear_condition)
    try:
        return needs(texts)
    except QueryError:
        return NOTHING
