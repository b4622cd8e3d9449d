"""One Arrow record batch as an IPC stream and back, within the limits that readers rely on."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from streams.errors import PoisonError

# Arrow's own threads cost a small record more than they save, and others wait for it.
_READ = pa.ipc.IpcReadOptions(use_threads=False)
_DENSE = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
_QUICK = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def write_ipc(rows: pa.RecordBatch, *, quick: bool = False) -> bytes:
    """One record batch as an Arrow stream with zstd buffers, or with lz4 where ``quick``."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=_QUICK if quick else _DENSE) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())


def read_ipc(body: bytes, schema: pa.Schema) -> Any:
    """The table of one Arrow stream with exactly this schema and valid data, else `PoisonError`."""
    try:
        with pa.ipc.open_stream(body, options=_READ) as reader:
            if not reader.schema.equals(schema):
                raise PoisonError(f"columns {reader.schema.names}; expected {schema.names}")
            batches = list(reader)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PoisonError(f"not an Arrow stream: {error}") from error
    if len(batches) != 1:
        raise PoisonError(f"{len(batches)} record batches in one event; expected 1")
    table = pa.Table.from_batches(batches)
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise PoisonError(f"invalid Arrow data: {error}") from error
    return table
