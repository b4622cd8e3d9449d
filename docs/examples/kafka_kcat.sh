#!/bin/sh
# JSON and line protocol with kcat: sh kafka_kcat.sh
set -e
echo '{"source": "backup", "metrics": [{"name": "backup_seconds", "value": 3.5, "metric_type": "gauge"}]}' |
  kcat -P -b localhost:9092 -t ingest.json
echo "disk,host=$(hostname),device=sda used_percent=71.5,errors=0i" |
  kcat -P -b localhost:9092 -t telegraf
