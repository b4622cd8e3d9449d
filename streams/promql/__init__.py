"""PromQL by our own engine: parsed by `promql-parser`, evaluated with numpy, pure.

Two functions, `engine.instant_query` and `engine.range_query`, over any `source.SeriesSource`;
docs/promql.md has examples, the limits, and what differs from Prometheus. Its version 3's
semantics, held to its own acceptance suite; floats only, no native histograms. An expression is
evaluated for all series and all steps at once. As a query flows::

  engine                the public surface: an instant query, a range query
  answer                what they return
  limits                what a query may cost, and the counting of it
  parsing               text to tree, behind limits of size and nesting
  syntax                the tree
  step_parts            a range's steps part by part, so that little is held at once
  evaluation            the walk over the tree
  series_shares         long windows, some of the series at once
  frames                what the walk passes around: arrays over series and steps
  matchers              which series a selector means
  source                where samples come from: the protocol, the source in memory
  selectors             instant vectors and windows from samples: look-back, staleness
  subqueries            windows from an expression's values
  labelsets             grouping label sets, keeping them distinct
  operators             operators on numbers, and between scalars and vectors
  matching              operators between two vectors
  groups                series in numbered groups
  aggregations          the table of aggregations and their parameters
  aggregations_fold     those that make one number of a group
  aggregations_choose   those that choose series
  functions             the table of functions
  window_blocks         windows cut into blocks for a cache
  summation             compensated sums
  quantiles             quantiles of samples, and numbers as text
  functions_rate        rates, differences, resets
  functions_over_time   statistics of a window
  functions_regression  lines through a window, exponential smoothing
  buckets               classic histograms: quantiles and shares
  functions_histogram   the functions over them
  functions_math        rounding, trigonometry, clamping
  functions_time        the clock's and the calendar's numbers
  functions_labels      label_replace, label_join
  functions_vector      absence, scalars, order
  functions_info        labels of info metrics
"""
