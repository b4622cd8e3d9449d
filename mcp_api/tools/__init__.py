"""The tools: what they are called and take, and the logic behind them, whatever the transport.

In the order in which a call passes them:

  specs              names, descriptions, JSON Schemas and annotations of the tools
  toolbox            a tool's name and arguments in, an answer out
  arguments          checks arguments against the specs
  times              ISO 8601 and relative times, durations, steps
  positions          the position token: text to offsets and back
  selection          metric, tags and times to a selection of samples
  collect            collect_metrics: points to the edge
  question           a query_metrics question, parsed
  query              its answer: a value, a summary and points a group
  promql             its answer to a PromQL expression
  discover           query_metrics' other operations: names, tags, a metric described
  why_empty          why nothing was found, and what to ask instead
  chart              the picture beside the numbers
  export             export_metrics: inline, or a link to a stream
  series_columns     the series of one exported batch
  export_rows        JSON, CSV and line protocol
  export_prometheus  the Prometheus text exposition
  prometheus_names   names for it: legal, unique and clean for the linter
  export_parquet     Parquet
  status             get_server_status
  answer             what every tool returns
  values             numbers and freshness as JSON tells them
  text               short text for a model that sees no structured content
  failures           errors as a JSON body and an HTTP status
"""
