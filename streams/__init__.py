"""Events, the log that keeps them, and the deterministic processors over it.

As the data flows::

  config      the settings: the only reader of the environment
  errors      every exception
  events      what the log holds: event types, their wire format, batches of samples
  ingest      where samples come in: parsers, the edge, collectors
  log         the event log: its interface and the embedded one
  domain      windows, sketches, ticks: pure functions
  processors  folds over one partition: the clock, windows, dead letters
  runners     what drives the processors
"""
