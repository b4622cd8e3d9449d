"""The read side: folds of the log into DuckDB and memory, and every question asked of them.

Modules in the order the data flows:

  source           what the projection reads of the log
  series           the series of a file in memory, with their newest samples
  samples          columns of samples: possible duplicates, the newest, bits of values; pure
  outputs          numbered outputs of processors: repeats and losses; pure
  requests         requests that came before: rows left out; pure
  fold             records to rows: interning, duplicates, positions; pure
  schema           the tables of the DuckDB file, and views for analysts
  duck_file        opening the file, and loading its rows into memory
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
  query_aggregate  aggregates by group and step
  query_catalogue  metrics, labels, times and totals
  query_export     samples in rows
  queries          every question, typed and bounded
  promql_source    samples for PromQL
  promql_labels    series, labels and metadata as Prometheus' API asks for them
  promql_queries   PromQL, typed and bounded
  hashing          multiset hashes of tables
  verify           is the file the fold of the log?
"""
