"""Maps as packed table values: a shard of the entries in each, not one key an entry."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import msgspec

T = TypeVar("T")

SHARDS: Final = 256
"""Never changed: entries are where their key's hash says."""

_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")


@dataclass(frozen=True)
class PackedMap(Generic[T]):
    """A map that is never changed; `Edit` makes the next one, which shares untouched shards."""

    shards: tuple[Mapping[str, T], ...] = field(default=({},) * SHARDS)

    def get(self, key: str) -> T | None:
        return self.shards[_shard(key)].get(key)

    def items(self) -> list[tuple[str, T]]:
        """In the order of the keys, so that no history shows in it."""
        return sorted(item for shard in self.shards for item in shard.items())

    def values(self) -> Iterator[T]:
        """In no order that may be relied on."""
        return (value for shard in self.shards for value in shard.values())

    def __len__(self) -> int:
        return sum(map(len, self.shards))


class Edit(Generic[T]):
    """A map in change: copies the shards that it touches, and tells them as table values."""

    def __init__(self, before: PackedMap[T]) -> None:
        self._before = before
        self._touched: dict[int, dict[str, T]] = {}

    def get(self, key: str) -> T | None:
        return self._shard_of(key).get(key)

    def put(self, key: str, value: T) -> None:
        self._own(key)[key] = value

    def delete(self, key: str) -> None:
        """Nothing happens where it is not there."""
        if key in self._shard_of(key):
            del self._own(key)[key]

    def items(self) -> list[tuple[str, T]]:
        """In the order of the keys, as they stand."""
        return self.after().items()

    def __len__(self) -> int:
        return len(self.after())

    def after(self) -> PackedMap[T]:
        """The map as it stands; once it is handed out, nothing is changed by this edit any more."""
        if not self._touched:
            return self._before
        shards = list(self._before.shards)
        for number, shard in self._touched.items():
            shards[number] = shard
        return PackedMap(tuple(shards))

    def changes(self, name: str) -> dict[str, bytes | None]:
        """The values of the shards touched, under ``name/number``; None where one is empty."""
        return {
            f"{name}/{number}": _ENCODER.encode(shard) if shard else None
            for number, shard in sorted(self._touched.items())
        }

    def _shard_of(self, key: str) -> Mapping[str, T]:
        number = _shard(key)
        return self._touched.get(number, self._before.shards[number])

    def _own(self, key: str) -> dict[str, T]:
        number = _shard(key)
        if number not in self._touched:
            self._touched[number] = dict(self._before.shards[number])
        return self._touched[number]


def stored(table: Mapping[str, bytes], name: str, kind: type[T]) -> PackedMap[T]:
    """The map whose changes were written under ``name``."""
    shards = [table.get(f"{name}/{number}") for number in range(SHARDS)]
    return PackedMap(
        tuple(msgspec.msgpack.decode(v, type=dict[str, kind]) if v else {} for v in shards)  # type: ignore[valid-type]
    )


def _shard(key: str) -> int:
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % SHARDS
