"""The tools: what they are called and take, and the logic behind them, whatever the transport.

In the order in which a call passes them:

  tool_spec          what a spec is made of
  alert_specs        the specs of the tools of alerts
  health_spec        the spec of health_check
  overview_spec      the spec of system_overview
  specs              names, descriptions, JSON Schemas and annotations of the tools
  toolbox            a tool's name and arguments in, an answer out
  arguments          checks arguments against the specs
  times              ISO 8601 and relative times, durations, steps
  positions          the position token: text to offsets and back
  selection          metric, tags and times to a selection of samples
  collect            collect_metrics: points to the edge
  question           a query_metrics question, parsed
  expression         the PromQL expression of its points
  results            groups as an answer that fits
  query              the answer: a value, a summary and points a group
  promql             its answer to a PromQL expression
  discover           query_metrics' other operations: names, tags, a metric described
  rule_arguments     a rule as callers write and read it
  commanded          a command sent once, and its answer
  alert_parts        what the tools of alerts work with
  alert_lint         what is probably wrong with a rule
  create_alert       create_alert: the rule as a command, or a dry run
  manage_alerts      manage_alerts: list, change, silence, explain
  ledger             who made a rule, why it fired, who was told
  dry_run            what a rule would have done in the past
  alert_text         short text about alerts
  health_check       the system, targets checked now, endpoints of the caller
  system_overview    servers, alerts and this system at a glance, now or then
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
