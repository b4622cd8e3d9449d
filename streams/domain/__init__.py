"""The deterministic core: pure functions over columns. No I/O, no clock, no randomness.

::

  ticks               when the clock's next barrier is due
  sketch              mergeable sketches of observations, and quantiles of them
  repeats             which rows of which requests were absorbed before
  windows             samples to aggregates a (series, window), and the merging of aggregates
  durations           durations as Prometheus writes them
  unicode_text        text from outside, as far as UTF-8 can write it
  template_functions  the functions of annotation templates, and Go's way to write values
  templates           annotation templates, expanded for one alert
  rule_syntax         what a condition needs and means: series, look-back, presence of data
  rules               what a rule must be, and which rules nobody could tell apart
  rule_yaml           YAML as rule files use it
  rule_files          rule files of Prometheus, read and written
  default_rules       the rules that a new installation starts with
  alert_memory        what is remembered of a rule's alerts from tick to tick, and what a tick reads
  alert_words         what is said of an alert: labels, fingerprint, the reason of a transition
  alert_states        the life of one rule's alerts over what its expressions give
  rule_reading        what a rule's expressions give at one time
  silences            which alerts a silence means, and when
  alert_routing       who is told of an alert: routes by labels, inhibition, escalation
  alert_groups        what a group of alerts tells its receiver, and when
  targets             targets of health checks: what one must be, the default ones
  health              the state machine of one target's health
"""
