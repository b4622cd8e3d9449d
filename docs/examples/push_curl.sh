#!/bin/sh
# Push measurements with curl: sh push_curl.sh
curl -sS --fail-with-body http://127.0.0.1:8000/logfire-mcp \
  -H 'Content-Type: application/json' -H "Idempotency-Key: example-$$" -d '{
    "tool": "collect_metrics",
    "arguments": {"source": "shell", "metrics": [
      {"name": "backup_seconds", "value": 3.5, "metric_type": "histogram", "unit": "seconds"},
      {"name": "backups_total", "value": 7, "metric_type": "counter", "tags": {"disk": "a"}}
    ]}}'
