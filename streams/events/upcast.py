"""Old shapes become new ones when they are read: one function a step, on plain dicts.

An upcaster sees ``{"headers": {...}, **body}`` of a JSON event of ``from_version`` and returns the
next version's. Columnar events (Arrow) evolve by adding a new wire name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

Body = dict[str, object]
Upcaster = Callable[[Body], Body]


class Upcasters:
    """The steps from each old version of an event to the next; one for each (name, version)."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, int], Upcaster] = {}

    def upcasts(self, name: str, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
        """Registers a step; a second one for the same version is a bug."""

        def register(step: Upcaster) -> Upcaster:
            assert (name, from_version) not in self._steps, (
                f"two upcasters for {name} {from_version}"
            )
            self._steps[name, from_version] = step
            return step

        return register

    def upcast(self, name: str, version: int, body: Mapping[str, object]) -> tuple[int, Body]:
        """The body in its newest shape, and that version."""
        current = dict(body)
        while step := self._steps.get((name, version)):
            current = step(current)
            version += 1
        return version, current


UPCASTERS = Upcasters()
"""Those of the catalogue. Every event is at its first version, so there are none yet."""
