"""A process that decides and delivers notifications until it is killed.

``python -m tests.flow.mortal_delivery FOLDER ROUND``, with ``ALERT_RECEIVERS`` in the environment:
some alerts of its round fire, then it goes on for ever. ``ROUND`` -1 fires none.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.flow.delivering import delivering
from tests.flow.notify_rig import fired

ALERTS_A_ROUND = 3


async def live(folder: Path, number: int, receivers: str) -> None:
    async with delivering(folder, receivers, os.environ) as deliverer:
        for name in (f"{number}-{i}" for i in range(ALERTS_A_ROUND if number >= 0 else 0)):
            await deliverer.happens(fired(name), name)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), int(sys.argv[2]), os.environ["ALERT_RECEIVERS"]))
