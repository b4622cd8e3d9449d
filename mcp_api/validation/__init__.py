"""The checks of `validate`: is this installation sound, and what is to be done where it is not.

In the order in which they run::

  outcome          what a check answers: found well, failed (and what to do), not applicable
  configuration    the settings, where each comes from, and the files that they name
  disk             room, writing, and what an fsync takes
  event_log        every record that a log file holds, read and verified; Kafka asked
  database         the read model against a fold of the log
  running_server   what a client sees: health, readiness, the tools, the server's own problems
  sinks            with ``--integration``: Redis, InfluxDB
  receivers        with ``--integration``: whoever is told of alerts, reached and told nothing
  telemetry        with ``--integration``: Logfire, OpenTelemetry, Grafana
  load_server      with ``--load-test``: a server of its own, in a temporary directory
  load_data        what that server is given
  load_rules       one tick of 100 rules
  load_test        five promises, measured on it
  everything       all of it in order
  report           a table for people, JSON for machines
"""
