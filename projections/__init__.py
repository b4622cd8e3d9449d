"""The read side: folds of the log into DuckDB and memory, and every question asked of them.

Modules in the order the data flows:

  source           what the projection reads of the log
  series           the series of a file in memory, with their newest samples
  samples          columns of samples: possible duplicates, the newest, bits of values; pure
  requests         requests that came before: rows left out; pure
  alert_rows       events about alerts to rows; pure
  health_rows      events about health to rows; pure
  fold             records to rows: interning, duplicates, positions; pure
  schema           the tables of the DuckDB file, and views for analysts
  duck_file        opening the file, and loading its rows into memory
  alert_write      the statements that write rows about alerts
  health_write     the statements that write rows about health
  duck_write       the statements of one write
  duck_requests    what is known of requests, in memory as in the file
  answers          what may be asked, and the shapes of the answers
  matching         which series a selection means
  live             the newest samples and the last minutes, in memory
  duck             the file's one writer: rows and positions in one transaction
  rebuild          a new file from the log, beside, then an atomic switch
  snapshot         copies of the file while it is written
  opening          a file to go on from: the one there, a snapshot, the log
  reading          readers: snapshots, bounded in time
  projector        the thread that follows the log
  alert_answers    the shapes of the answers about rules and alerts
  query_rules      rules, alerts, silences and answers to commands as they stand
  query_ledger     the ledger of a rule: who, when, why, and who was told
  alert_queries    every question about rules and alerts, typed and bounded
  health_queries   every question about targets and their health
  overview_shapes  the shapes of an overview
  query_targets    targets and their health as they were
  query_overview   the whole system at a glance, now or at a past time
  query_aggregate  aggregates by group and step
  query_catalogue  metrics, labels, times and totals
  query_export     samples in rows
  queries          every question, typed and bounded
  promql_source    samples for PromQL
  promql_labels    series, labels and metadata as Prometheus' API asks for them
  promql_newest    the newest samples, for federation
  promql_queries   PromQL, typed and bounded
  backtest_report  the shapes of what a rule would have done
  backtest_block   what a rule's expressions give at each tick of a block
  backtest_tally   transitions counted, and compared with what happened; pure
  backtest_told    who would have been told
  backtest_course  the course of a rule over a range, block by block
  backtest         what a rule would have done over a past range
  sink             sinks: copies elsewhere, each fed by a thread of its own
  sink_positions   where a sink's position is kept, and which one is safe to keep
  refill           what the read model has of records that the log no longer holds
  refill_copy      another node's database, for a process that has none
  influx_lines     windows and samples as line protocol; pure
  influx           the sink InfluxDB
  redis_rows       newest samples, alerts, targets and messages for Redis; pure
  redis_script     how Redis takes rows and positions together
  redis_cache      the sink Redis
  hashing          multiset hashes of tables
  verify           is the file the fold of the log?
"""
