"""What drives the processors: fetch, step, commit.

::

  runner         what a server sees of whatever drives its processors
  step_counts    how often, how much, how long: of each processor, and a span a step
  local          the embedded runner: one thread, state, outputs and position in one transaction
  hosted_agents  handlers of records, one by one or in batches
  hosted_table   a Faust table: a compacted topic, read back with the partitions
  faust_app      agents and tables of a Faust app in a thread: the only importer of faust
  slots          a processor's table in a store that can fail between any two writes
  kafka_cell     one processor in one partition: records in, outputs and table values out
  kafka_runner   the runner on Kafka: the cells of this process, and the clock
  intake         an ingest topic's messages in order and without gaps, whatever is delivered
  kafka_ingest   what others write to ingest topics, republished as batches
  kafka_tail     the newest records of all partitions in memory, for a projection
"""
