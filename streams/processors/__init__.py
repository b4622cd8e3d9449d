"""The steps over records: each folds one partition of one topic, driven by any runner.

::

  seam          what a processor is; skipping, stepping and numbering, the same for every runner
  clock         the barriers (`Ticked`) that the other processors read in band
  deadletter    a record that cannot be understood becomes an event with its reason
  series_index  label texts to small numbers, and their canonical order
  repeats       rows of repeated requests left out, as packed table values
  pending       the samples that wait for their window, by reference to the log
  open_windows  aggregates of windows that are not told yet, as packed table values
  windows       points to `WindowClosed` and `WindowAmended`
"""
