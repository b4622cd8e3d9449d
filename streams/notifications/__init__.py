"""Who is told outside: receivers as configured, and the effects that tell them.

::

  receivers       a receiver: its kind, its URL, its secrets by reference
  configuration   the file of receivers, routes, inhibitions and mute times
  message_text    a notification as people read it: title, text, HTML
  sending         what a sender is, and what came of a sending
  webhook         Alertmanager's payload over HTTP
  email           mail by SMTP
  apprise_sender  all other services, by Apprise
  senders         the sender of each receiver
  delivery        what is outstanding in the log to its receivers, and the outcome into the log
  heartbeat       a sign of life as long as the pipeline ticks
"""
