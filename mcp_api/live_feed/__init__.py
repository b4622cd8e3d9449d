"""The live feed: ``/ws``, what happens as it happens, over one WebSocket a client.

The modules in the order in which a subscription flows::

  messages       what clients ask, read; the parts that answers are made of
  subscriptions  what a request asks for, looked at and bounded
  snapshots      how things stand, with the position in the log that this is
  outbox         what waits for one client, bounded; who is too slow is cut
  event_lines    records of the log as clients are told them
  past           what the log holds for those who come back
  log_feed       alerts, health and events: one reader of the log for all clients
  series_state   the newest answer of an expression, and what changed since any before
  metrics_feed   PromQL: each expression evaluated once for all who follow it
  session        one client from its first message to its last
  route          who may come in, how many there are, what is counted
"""
