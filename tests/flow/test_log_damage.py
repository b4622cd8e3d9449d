"""Damaged files: what is read is a prefix of what was written, or nothing is read at all.

A small log is written with a table that its records determine, once left in the write-ahead log
and once checkpointed; then its files are cut and bits are flipped.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from streams.errors import LogError
from streams.events.topics import POINTS, WINDOWS
from streams.log.protocol import Append, DuplicateRequest, Entry, Message, Record, RequestKey
from streams.log.sqlite_log import SqliteLog

STEPS = 8
FLIPS = 1_000
TAIL_BYTES = 4_096
PARTITIONS = 2


@dataclass(frozen=True)
class Files:
    """The bytes of a log's files, as a crash or a clean stop left them."""

    main: bytes
    wal: bytes

    def put(self, directory: Path) -> Path:
        """Writes them into an emptied directory; the log's path."""
        for old in directory.iterdir():
            old.unlink()
        path = directory / "log.db"
        path.write_bytes(self.main)
        if self.wal:
            Path(f"{path}-wal").write_bytes(self.wal)
        return path


@dataclass(frozen=True)
class Original:
    """What was written: all records of each partition, in order."""

    records: dict[tuple[str, int], list[Record]]
    crashed: Files
    half: Files
    closed: Files


@cache
def body(step: int) -> bytes:
    rng = random.Random(step)
    return rng.randbytes(rng.choice((10, 300, 3_000)))


def message(step: int) -> Message:
    return Message({"ce_id": str(step), "ce_type": "test.v1"}, body(step))


def write_step(log: SqliteLog, step: int) -> None:
    """One input with a key; then its output and the table that says how far it went."""
    partition = step % PARTITIONS
    entry = Entry(POINTS, partition, message(step))
    log.submit(Append((entry,), (RequestKey(f"key-{step}", b"digest"),))).result()
    offset = log.ends()[POINTS, partition]
    changes = {"head": b"%d" % offset, f"slot-{offset % 3}": body(step)}
    if offset % 3 == 0:
        changes[f"slot-{(offset - 1) % 3}"] = None  # type: ignore[assignment]
    log.commit_step("p", partition, changes, (Entry(WINDOWS, partition, message(step)),)).result()


def table_after(partition: int, outputs: int) -> dict[str, bytes]:
    """The table that belongs to so many outputs."""
    table: dict[str, bytes] = {}
    for step in range(partition, STEPS, PARTITIONS)[:outputs]:
        offset = step // PARTITIONS + 1
        table |= {"head": b"%d" % offset, f"slot-{offset % 3}": body(step)}
        if offset % 3 == 0:
            table.pop(f"slot-{(offset - 1) % 3}", None)
    return table


def files_of(path: Path) -> Files:
    wal = Path(f"{path}-wal")
    return Files(path.read_bytes(), wal.read_bytes() if wal.exists() else b"")


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """In memory where there is such a place: thousands of logs are opened."""
    fast = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=fast if os.access(fast, os.W_OK) else None))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def original(directory: Path) -> Original:
    path = directory / "log.db"
    log = SqliteLog.open(path, partitions=PARTITIONS)
    for step in range(STEPS // 2):
        write_step(log, step)
    log.close()
    log = SqliteLog.open(path, partitions=PARTITIONS)
    for step in range(STEPS // 2, STEPS):
        write_step(log, step)
    crashed = files_of(path)
    log.close()
    closed = files_of(path)
    log = SqliteLog.open(path, partitions=PARTITIONS)
    records = {where: log.read_now(*where, 0) for where in log.ends()}
    log.close()
    half = Files(closed.main, crashed.wal)
    return Original(records, crashed, half, closed)


def outcome(path: Path, original: Original, *, read_only: bool = False) -> str:
    """ "refused", or "whole" or "prefix" of what was written; anything else fails the test."""
    try:
        log = SqliteLog.open(path, partitions=PARTITIONS, read_only=read_only)
    except LogError:
        return "refused"
    try:
        found = verdict(log, original)
        if not read_only:
            check_keys(log)
        return found
    except LogError:
        return "refused"
    finally:
        log.close()


def verdict(log: SqliteLog, original: Original) -> str:
    total = 0
    for where, end in log.ends().items():
        records = log.read_now(*where, 0, records_max=STEPS)
        assert len(records) == end
        assert records == original.records[where][:end]
        total += end
    for partition in range(PARTITIONS):
        outputs = log.ends()[WINDOWS, partition]
        assert log.table("p", partition) == table_after(partition, outputs)
        assert 0 <= log.ends()[POINTS, partition] - outputs <= 1
    return "whole" if total == STEPS * 2 else "prefix"


def check_keys(log: SqliteLog) -> None:
    """Every request whose record is there is known."""
    ends = log.ends()
    known = [s for s in range(STEPS) if s // PARTITIONS < ends[POINTS, s % PARTITIONS]]
    units = [Append((), (RequestKey(f"key-{step}", b"digest"),)) for step in known]
    for step, future in zip(known, [log.submit(unit) for unit in units], strict=True):
        error = future.exception()
        if isinstance(error, LogError):
            raise error
        assert isinstance(error, DuplicateRequest), step
        place = error.known[f"key-{step}"].receipt.positions[0]
        assert (place.partition, place.offset) == (step % PARTITIONS, step // PARTITIONS)


def test_undamaged_files_hold_everything(original: Original, directory: Path) -> None:
    for files in (original.crashed, original.half, original.closed):
        assert outcome(files.put(directory), original) == "whole"


def test_a_write_ahead_log_cut_at_any_byte_of_its_end_keeps_the_transactions_before(
    original: Original, directory: Path
) -> None:
    wal = original.crashed.wal
    for cut in range(1, TAIL_BYTES + 1):
        path = Files(original.crashed.main, wal[:-cut]).put(directory)
        # A reader sees what an owner would recover, without the owner's thread to start and end.
        assert outcome(path, original, read_only=cut % 32 != 0) == "prefix"


def test_a_log_that_lost_its_torn_end_goes_on_from_there(
    original: Original, directory: Path
) -> None:
    path = Files(original.crashed.main, original.crashed.wal[:-1]).put(directory)
    for _ in range(2):
        log = SqliteLog.open(path, partitions=PARTITIONS)
        end = log.ends()[WINDOWS, 1]
        entry = Entry(WINDOWS, 1, message(end))
        log.commit_step("p", 1, {"head": b"%d" % end}, (entry,)).result()
        assert log.read_now(WINDOWS, 1, end)[0].body == body(end)
        assert log.table("p", 1)["head"] == b"%d" % end
        log.close()


def test_a_file_cut_at_any_byte_of_its_end_is_refused(original: Original, directory: Path) -> None:
    for cut in range(1, TAIL_BYTES + 1):
        path = Files(original.closed.main[:-cut], b"").put(directory)
        assert outcome(path, original) == "refused"


@pytest.mark.parametrize("which", ["crashed", "closed", "half"])
def test_a_flipped_bit_is_a_prefix_or_a_refusal_and_never_a_wrong_answer(
    original: Original, directory: Path, which: str
) -> None:
    rng = random.Random(which)
    files: Files = getattr(original, which)
    seen: dict[str, int] = {}
    for _ in range(FLIPS // 3 + 1):
        at = rng.randrange(len(files.main) + len(files.wal))
        whole = bytearray(files.main + files.wal)
        whole[at] ^= 1 << rng.randrange(8)
        flipped = Files(bytes(whole[: len(files.main)]), bytes(whole[len(files.main) :]))
        found = outcome(flipped.put(directory), original, read_only=rng.random() < 0.3)
        seen[found] = seen.get(found, 0) + 1
    assert seen["refused"] > 0, seen
