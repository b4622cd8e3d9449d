"""`create_alert`: a rule, checked, sent as a command, answered by its fact; or a dry run of it."""

from __future__ import annotations

from functools import partial

from mcp_api.tools.alert_lint import lint
from mcp_api.tools.alert_parts import AlertParts
from mcp_api.tools.alert_text import created_text
from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.commanded import Asked
from mcp_api.tools.dry_run import tried_out
from mcp_api.tools.rule_arguments import new_rule, rule_content
from mcp_api.tools.times import iso
from streams.events.rules import CreateAlert, Rule, RuleCreated


async def create_alert(parts: AlertParts, asked: Asked) -> ToolAnswer:
    """The answer; `InputError` for what is no rule, and with the reason of a refusal."""
    rule = new_rule(asked.arguments, asked.made_id)
    warnings = await warnings_of(parts, rule, asked.now_ms)
    if asked.arguments.get("dry_run"):
        content = await tried_out(parts, asked, rule)
        content |= {"status": "dry_run", "position": "", "created_at": ""}
    else:
        answered = await parts.desk.hand_in(asked, CreateAlert(rule))
        if isinstance(answered.fact, RuleCreated):
            rule = answered.fact.rule
        content = answered.content() | {"created_at": iso(answered.at_ms)}
    content |= {"alert_id": rule.id, "alert": rule_content(rule), "warnings": warnings}
    return ToolAnswer(content, created_text(content))


async def warnings_of(parts: AlertParts, rule: Rule, now_ms: int) -> list[str]:
    """See `lint`."""
    return await parts.in_thread(
        partial(lint, parts.queries, rule, receivers=parts.receivers, now_ms=now_ms)
    )
