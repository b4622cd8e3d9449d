"""Prometheus' HTTP API, as dashboards and tools ask it, answered from the projection.

https://prometheus.io/docs/prometheus/latest/querying/api/

In the order in which a request passes them::

  route        GET and POST below /api/v1: bounded, off the event loop, compressed
  parameters   what a request asks: times, durations, limits
  endpoints    one function for each path
  alerting     those of rules and alerts
  syntax_json  the syntax tree of an expression as JSON
  encoding     answers and errors in Prometheus' shapes

Beside them `/federate`, which another Prometheus scrapes::

  exposed_names  names as a scraper reads them
  federate       the newest samples as text
"""
