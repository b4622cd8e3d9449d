"""Push measurements by HTTP: python push_http.py"""

import httpx

point = {"name": "queue_depth", "value": 12, "metric_type": "gauge", "tags": {"queue": "mail"}}
call = {"tool": "collect_metrics", "arguments": {"source": "example", "metrics": [point]}}
answer = httpx.post("http://127.0.0.1:8000/logfire-mcp", json=call)
answer.raise_for_status()
print(answer.json())
