"""A processor's table in a store of single values that can fail between any two writes.

Each owner of a partition writes under keys of its own. A large value has two slots: a flush writes
into the one that the last complete manifest does not name, then a manifest (of two, in turn) that
names slot and checksum of every value; small values lie in the manifest itself. So:

- a flush that is cut off anywhere leaves the one before it as it was;
- an owner that was replaced and does not know it cannot touch what its successor wrote;
- `recover` takes the manifest with the highest position whose values are all there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from streams.processors.seam import HEAD

INLINE_BYTES_MAX: Final = 512
"""Values up to this size lie in the manifest: the usual flush is one write."""


class _Shard(msgspec.Struct, frozen=True, array_like=True):
    slot: int
    digest: bytes


class _Manifest(msgspec.Struct, frozen=True):
    position: int
    sequence: int
    inline: dict[str, bytes]
    shards: dict[str, _Shard]


@dataclass(frozen=True, slots=True)
class Flush:
    """What to write, in this order, each acknowledged before the next; then `Slots.flushed`."""

    slots: Mapping[str, bytes | None]
    manifest: Mapping[str, bytes | None]
    spent: Mapping[str, bytes | None]
    after: Slots


@dataclass(frozen=True, slots=True)
class Slots:
    """Where one owner's values lie, as of its last complete manifest.

    ``owner``: never used before in this partition. ``spent``: keys to delete once a manifest of
    this owner is complete: those of owners before it.
    """

    owner: str
    position: int = 0
    sequence: int = 0
    inline: Mapping[str, bytes] = field(default_factory=dict)
    shards: Mapping[str, _Shard] = field(default_factory=dict)
    spent: frozenset[str] = frozenset()

    def flush(self, changes: Mapping[str, bytes | None]) -> Flush:
        """The writes that make these changes (None deletes) durable, `HEAD` among them.

        A flush whose outcome is unknown may be made again from the same `Slots`, also with more
        changes.
        """
        inline, shards = dict(self.inline), dict(self.shards)
        slots: dict[str, bytes | None] = {}
        for key, value in changes.items():
            inline.pop(key, None)
            before = shards.pop(key, None)
            if value is None:
                continue
            if len(value) <= INLINE_BYTES_MAX:
                inline[key] = value
                continue
            slot = 0 if before is None else 1 - before.slot
            shards[key] = _Shard(slot, _digest(value))
            slots[f"{self.owner}/{slot}/{key}"] = value
        gone = [key for key in self.shards if key not in shards]
        spent = self.spent | {f"{self.owner}/{slot}/{key}" for key in gone for slot in (0, 1)}
        position = int(json.loads(inline[HEAD])["position"])
        sequence = self.sequence + 1
        manifest = msgspec.msgpack.encode(_Manifest(position, sequence, inline, shards))
        return Flush(
            slots=slots,
            manifest={f"{self.owner}/manifest/{sequence % 2}": manifest},
            spent=dict.fromkeys(sorted(spent - slots.keys())),
            after=replace(
                self,
                position=position,
                sequence=sequence,
                inline=inline,
                shards=shards,
                spent=frozenset(),
            ),
        )


@dataclass(frozen=True, slots=True)
class Recovered:
    """The table as one complete manifest has it; ``owner`` wrote it ("" where there is none)."""

    values: Mapping[str, bytes]
    position: int = 0
    owner: str = ""


def recover(stored: Mapping[str, bytes]) -> Recovered:
    """The complete manifest with the highest position; empty at position 0 where none is complete.

    Keys and values that no `Slots` wrote are ignored.
    """
    manifests = []
    for key, value in stored.items():
        owner, _, rest = key.partition("/")
        if rest in {"manifest/0", "manifest/1"}:
            try:
                manifests.append((msgspec.msgpack.decode(value, type=_Manifest), owner))
            except msgspec.MsgspecError:
                continue
    manifests.sort(key=lambda each: (-each[0].position, -each[0].sequence, each[1]))
    for manifest, owner in manifests:
        values = _values(stored, manifest, owner)
        if values is not None:
            return Recovered(values, manifest.position, owner)
    return Recovered({})


def take_over(stored: Mapping[str, bytes], owner: str) -> Slots:
    """The slots of a new owner. Its first flush must write all that was recovered, under its own
    keys; what lay there before is deleted after that."""
    return Slots(owner, spent=frozenset(stored))


def _values(
    stored: Mapping[str, bytes], manifest: _Manifest, owner: str
) -> dict[str, bytes] | None:
    values = dict(manifest.inline)
    for key, shard in manifest.shards.items():
        value = stored.get(f"{owner}/{shard.slot}/{key}")
        if value is None or _digest(value) != shard.digest:
            return None
        values[key] = value
    return values


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()
