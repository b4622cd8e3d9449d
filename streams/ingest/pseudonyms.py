"""`Pseudonyms`: the values of chosen tags, replaced before anything is stored.

A value becomes ``anon-`` and 64 bits of HMAC-SHA256 over tag and value: equal values stay equal, so
they can be counted, grouped and compared, and nobody without the key can tell what they were, or
try out what they might have been.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from streams.config import Settings
from streams.errors import InputError
from streams.events.labels import labels_problem, parse_series, series_text
from streams.ingest.parsed import Parsed

PREFIX: Final = "anon-"
SHOWN_HEX: Final = 16
TEXTS_MAX: Final = 100_000
"""Series remembered; about 1 kB each at most usually."""
DICTIONARIES_MAX: Final = 1_024


class Pseudonyms:
    """For one edge; one call at a time."""

    def __init__(self, tags: Collection[str], key: bytes) -> None:
        self._tags = frozenset(tags)
        self._key = key
        self._texts: dict[str, str] = {}
        self._dictionaries: OrderedDict[int, tuple[tuple[str, ...], tuple[str, ...]]]
        self._dictionaries = OrderedDict()

    def of(self, parsed: Parsed) -> Parsed:
        """The same request without the values. `InputError` where a series gets too long by it."""
        batch, content = parsed.batch, parsed.content
        labels = self._all(batch.labels)
        if labels == batch.labels:
            return parsed
        return replace(
            parsed,
            batch=replace(batch, labels=labels),
            content=replace(content, labels=self._all(content.labels)),
        )

    def value(self, tag: str, value: str) -> str:
        """What is stored for it.

        >>> Pseudonyms(["email"], b"0123456789abcdef").value("email", "ann@example.org")
        'anon-3b6ffe8db866cb64'
        """
        said = f"{tag}={value}".encode()
        return PREFIX + hmac.new(self._key, said, hashlib.sha256).hexdigest()[:SHOWN_HEX]

    def _all(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """One result for one dictionary: the edge knows those that it had by their identity."""
        known = self._dictionaries.get(id(labels))
        if known is not None and known[0] is labels:
            self._dictionaries.move_to_end(id(labels))
            return known[1]
        if len(self._texts) > TEXTS_MAX:
            self._texts.clear()
        found = tuple([self._texts.get(text) or self._text(text) for text in labels])
        self._dictionaries[id(labels)] = (labels, found)
        while len(self._dictionaries) > DICTIONARIES_MAX:
            self._dictionaries.popitem(last=False)
        return found

    def _text(self, text: str) -> str:
        name, labels = parse_series(text)
        for tag in self._tags & labels.keys():
            labels[tag] = self.value(tag, labels[tag])
        if problem := labels_problem(name, labels):
            raise InputError(f"with its tags anonymized, {problem}")
        self._texts[text] = series_text(name, labels)
        return self._texts[text]


def configured_pseudonyms(settings: Settings) -> Pseudonyms | None:
    """As ANONYMIZE_TAGS says; None where it says nothing."""
    if not settings.anonymize_tags:
        return None
    assert settings.anonymize_key is not None, "load_settings has seen to it"
    return Pseudonyms(settings.anonymize_tags, settings.anonymize_key.encode())
