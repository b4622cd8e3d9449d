"""Push measurements by an MCP client: python push_mcp.py"""

import asyncio

from mcp import Client


async def main() -> None:
    point = {"name": "queue_depth", "value": 12, "metric_type": "gauge", "tags": {"queue": "mail"}}
    async with Client("http://127.0.0.1:8000/mcp") as client:
        answer = await client.call_tool("collect_metrics", {"source": "mcp", "metrics": [point]})
        print(answer.structured_content)


asyncio.run(main())
