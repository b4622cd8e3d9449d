"""What this server tells Logfire and OpenTelemetry of itself; loaded only where one is configured.

From the settings to what is sent::

  destinations  where it goes: Logfire, a collector, both
  reporting     Logfire's SDK set up, spans switched on and off
  spans         spans by OpenTelemetry's SDK, parents from the log
  traced_app    a span for each HTTP request
  wire          protobuf's wire format, as much of it as OTLP needs
  points        points with their own times as OTLP metrics
  firings       alerts that fired or were resolved as OTLP logs
  forwarding    the sink that sends both
"""
