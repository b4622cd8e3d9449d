"""The steps over records: each folds one partition of one topic, driven by any runner.

::

  seam             what a processor is; skipping, stepping and numbering, the same for every runner
  outputs          numbered outputs: which came before, and where one is missing
  clock            the barriers (`Ticked`) that the other processors read in band
  deadletter       a record that cannot be understood becomes an event with its reason
  series_index     label texts to small numbers, and their canonical order
  repeats          rows of repeated requests left out, as packed table values
  pending          the samples that wait for their window, by reference to the log
  open_windows     aggregates of windows that are not told yet, as packed table values
  windows          points to `WindowClosed` and `WindowAmended`
  packed           maps as packed table values, a shard of the entries in each
  commands_state   what the deciding of commands remembers, as packed table values
  commands_targets  what is decided of the targets of health checks
  commands         commands to facts and refusals, each answered once
  rule_needs       what samples rules ask for
  selected_series  which series each selector means, kept up to date as series come
  routing          versions of rules, whose past is still to be read, which series go where
  route            points to what rules see, with markers at ticks
  hot_store        the last minutes of the series that the rules of a home read
  rule_inputs      the hot store and the inputs that wait, made again from the log
  rule_homes       which version of a rule is in force, and its alerts, as table values by rule
  rule_evaluation  the evaluation of rules at one tick, with what they share done once
  rule_tick        one tick of one home: versions come and go, rules that are due are evaluated
  rule_traces      which traced call a transition comes of
  evaluate         rules to transitions, tick by tick
  notify_state     what notifications depend on: alerts, groups, silences, what is outstanding
  notify_alerts    the alerts that fire, their groups, and what holds them back
  notify           alerts to `NotificationRequested`, or why not
  health_state    what is remembered of the targets of health checks
  health          checks of targets to `HealthChanged` and metrics
"""
