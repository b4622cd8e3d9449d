"""What the log holds.

From a label to a message on the wire::

  topics     their names, and which have one partition only
  labels     a series' identity as canonical text, and the limits of names and tags
  ipc        Arrow record batches as bytes
  batch_heads  dictionaries of series, kept while they are in use
  batch      many samples as columns
  window     aggregates of many series over a window as columns
  rules      rules and silences: commands and facts
  alerting   what rules see, what came of it, who was told
  health     targets, what probes found, how a state turned
  catalogue  the closed union of events, and the envelope
  slices     which rows of a record belong to which request, for readers that drop repeats
  upcast     how old shapes of events become new ones
  codec      events to messages and back (CloudEvents, binary mode)
"""
