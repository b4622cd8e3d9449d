"""The last resort of a process that is told to end."""

from __future__ import annotations

import os
import threading


def end_within(seconds: float, code: int = 1) -> None:
    """Ends this process then with ``code``, if it has not ended by itself.

    Kafka's clients have threads that may wait for a broker longer than a supervisor waits for us.
    What is acknowledged is durable by then, and the rest is done again by whoever takes over.
    """
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
