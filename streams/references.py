"""References to secrets in configuration files: what is secret stands elsewhere.

``${NAME}`` in a text is the environment variable, ``${file:/path}`` what a file holds (without the
newline at its end).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from streams.errors import ConfigError

REFERENCE = re.compile(r"\$\{(file:)?([^}]+)\}")


def resolved(
    text: str, environ: Mapping[str, str], place: str, secrets: list[str], *, in_url: bool = False
) -> str:
    """The text with what it refers to, which is added to ``secrets``; ``in_url``: percent-encoded.

    `ConfigError` that names the ``place`` where a variable is not set or a file cannot be read.
    """

    def value_of(found: re.Match[str]) -> str:
        value = _referred(found, environ, place)
        secrets.append(value)
        return quote(value, safe="") if in_url else value

    return REFERENCE.sub(value_of, text)


def _referred(found: re.Match[str], environ: Mapping[str, str], place: str) -> str:
    in_file, name = found.groups()
    if not in_file:
        if not environ.get(name):
            raise ConfigError(f"{place} refers to {name}, which is not set in the environment")
        return environ[name]
    try:
        return Path(name).expanduser().read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"{place} refers to the file {name}: {reason}") from None
