"""Imported before pydantic: Logfire's plugin for it stays out, which nobody here has asked for.

Pydantic loads the plugins of all installed distributions at its first import, whether they are used
or not; Logfire's costs 0.3 s and 24 MB. ``PYDANTIC_DISABLE_PLUGINS`` in the environment wins.
"""

import os

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "logfire-plugin")
