"""Where samples come in: a parser a wire format, the collectors of this process, and the edge.

As the data flows::

  timestamps     a point's time: ISO 8601 or a Unix time
  parsed         what a parser gives: good points as columns, bad ones with reasons
  series_cache   what earlier requests taught about raw tags and sequences of series
  one_point      one point judged in full, with a reason where it is refused
  gathering      a request's points as they are read
  json_points    the JSON of `collect_metrics`
  line_syntax    one line of InfluxDB's line protocol
  line_columns   plain line protocol by columns
  line_protocol  line protocol as Telegraf sends it
  samples        samples that this process takes itself
  periodic       producers that run by the clock
  cpu_usage      how busy the processors were
  system         this machine's own measurements
  counters       what this process counts, as samples
  demo           a synthetic fleet
  pseudonyms     the values of chosen tags, replaced before anything is stored
  series_limits  how many series there may be
  merging        requests to log entries
  edge           where requests become durable
  outgoing       a producer's points until they are sent
  ingest_topics  topics to which anybody may write
  foreign        what a message on such a topic says
  republish      such messages to the log
"""
