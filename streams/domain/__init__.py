"""The deterministic core: pure functions over columns. No I/O, no clock, no randomness.

::

  ticks    when the clock's next barrier is due
  sketch   mergeable sketches of observations, and quantiles of them
  repeats  which rows of which requests were absorbed before
  windows  samples to aggregates a (series, window), and the merging of aggregates
"""
