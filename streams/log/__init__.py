"""The event log: append-only, durable before it acknowledges, readable while it is written.

In the order in which a record passes:

  protocol          what every log is: topics, partitions, messages, positions
  limits            what no log takes
  wall_clock        Unix milliseconds
  asking_again      waiting for a log that is away
  checksum          the chain over each partition's records, and the checksums of other rows
  lock              one owner of a log at a time
  wal_check         a torn end of the write-ahead log told from damage in its middle
  sqlite_file       the SQLite file: its schema, how it is made, opened, and what its errors mean
  sqlite_rows       what the file says of itself: identity, partitions, tables
  sqlite_units      units of writing: checked by the caller, written in groups
  sqlite_check      what is verified before the log is used
  sleepers          coroutines that wait for a thread to tell of a change
  ends              the committed ends, and waking those who wait for them
  sqlite_writer     the thread that writes: bounded queue, group commit, upkeep
  sqlite_reader     reading, with every row verified
  sqlite_watch      how a reading process learns of new records
  sqlite_log        the embedded log: all of it behind the protocol
  kafka_config      which cluster, how it is reached, how topics are declared there
  kafka_topics      declaring topics, refusing those that differ
  kafka_connection  asking the brokers for batches, starts and ends
  kafka_batches     Kafka's record batches as records
  kafka_foreign     aiokafka's consumers, made to read on where others wrote odd headers
  kafka_ends        where each partition's last record ends, kept up to date
  kafka_producer    sending: one batch in flight a partition
  kafka_keys        idempotency keys of all nodes
  kafka_writer      units of writing: bounded, their keys looked up and recorded
  kafka_reader      reading at any offset
  kafka_log         the log on Kafka: all of it behind the protocol
  kafka_offsets     positions of whoever copies the log elsewhere
  recent            the newest records in memory, for a reader that keeps up
  opening           which of the logs the settings mean
"""
