"""The rules that a new installation starts with. They are ordinary rules: anybody may change or
delete them, and they do not come back."""

from __future__ import annotations

from streams.events.rules import Rule

DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(
        id="high-cpu-usage",
        version=1,
        name="High CPU Usage",
        condition="system_cpu_usage > 80",
        severity="high",
        description="The processors of a system are over 80 % busy.",
        annotations={"summary": "CPU usage is {{ $value | humanize }} %"},
    ),
    Rule(
        id="high-memory-usage",
        version=1,
        name="High Memory Usage",
        condition="system_memory_usage > 85",
        severity="high",
        description="The memory of a system is over 85 % used.",
        annotations={"summary": "Memory usage is {{ $value | humanize }} %"},
    ),
    Rule(
        id="mcp-server-down",
        version=1,
        name="MCP Server Down",
        condition="mcp_server_health == 0",
        severity="critical",
        description="A health check of an MCP server fails.",
        annotations={"summary": "{{ $labels.server }} is down"},
    ),
    Rule(
        id="high-error-rate",
        version=1,
        name="High Error Rate",
        condition=(
            'sum by (server) (rate(mcp_requests_total{status=~"error|5.."}[5m]))'
            " / sum by (server) (rate(mcp_requests_total[5m])) > 0.05"
        ),
        severity="medium",
        description="Of the requests of 5 minutes over 5 % were answered by an error.",
        annotations={"summary": "{{ $value | humanizePercentage }} of the requests fail"},
    ),
)
