"""What the log holds.

From a label to a message on the wire::

  labels     a series' identity as canonical text, and the limits of names and tags
  batch      many samples as columns (Arrow IPC)
  window     aggregates of many series over a window as columns
  catalogue  the closed union of events, and the envelope
  upcast     how old shapes of events become new ones
  codec      events to messages and back (CloudEvents, binary mode)
"""
