"""A series' identity: its labels with ``__name__``, as canonical JSON text.

Names and label names are any non-empty UTF-8, as Prometheus 3 allows (https://prometheus.io/docs/
concepts/data_model/). The text has sorted keys and no blanks, so equal series have equal text in
every process, and it can be read without this program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec

from streams.errors import PoisonError

NAME = "__name__"
SOURCE = "source"
LABELS_MAX = 64
NAME_BYTES_MAX = 512
VALUE_BYTES_MAX = 4_096
SERIES_BYTES_MAX = 16_384
GOOD_MAX = 1_000_000

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(dict[str, str]).decode

# Hashes of texts that passed `check_series`. Python's are keyed anew in each process, so nobody can
# make a bad text that passes for a good one.
_GOOD: set[int] = set()


def labels_problem(name: str, labels: Mapping[str, str]) -> str | None:
    """Why these cannot name a series, in one sentence, or None.

    >>> labels_problem("", {})
    'name is empty: give the metric a name'
    >>> labels_problem("cpu", {"host": "a"}) is None
    True
    """
    if not name:
        return "name is empty: give the metric a name"
    if len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        return f"name is longer than {NAME_BYTES_MAX} bytes"
    if len(labels) > LABELS_MAX:
        return f"{len(labels)} labels: at most {LABELS_MAX} are taken"
    for label, value in labels.items():
        if not label:
            return "a tag has an empty name"
        if label == NAME:
            return f"tag {NAME!r} is reserved for the metric's name"
        if len(label.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
            return f"a tag's name is longer than {NAME_BYTES_MAX} bytes"
        if len(value.encode("utf-8", "surrogatepass")) > VALUE_BYTES_MAX:
            return f"tag {label!r} has a value longer than {VALUE_BYTES_MAX} bytes"
    try:
        if len(series_text(name, labels).encode()) > SERIES_BYTES_MAX:
            return f"name and tags together are longer than {SERIES_BYTES_MAX} bytes"
    except UnicodeEncodeError:
        return "name or tags hold a lone surrogate, which UTF-8 cannot write"
    return None


def series_text(name: str, labels: Mapping[str, str]) -> str:
    """The identity of a series. A label with an empty value is the same as no label (Prometheus).

    >>> series_text("cpu", {"host": "a", "zone": ""})
    '{"__name__":"cpu","host":"a"}'
    """
    return _encode({NAME: name, **{k: v for k, v in labels.items() if v}}).decode()


def parse_series(text: str) -> tuple[str, dict[str, str]]:
    """Name and labels of an identity.

    >>> parse_series('{"__name__":"cpu","host":"a"}')
    ('cpu', {'host': 'a'})
    """
    labels = _decode(text)
    return labels.pop(NAME), labels


def check_series(texts: Iterable[str | None]) -> None:
    """`PoisonError` unless each text is what `series_text` gives for labels within the limits.

    What was found good once is known by its hash, so that readers can afford to ask each time.
    """
    texts = list(texts)
    if _GOOD.issuperset(map(hash, texts)):
        return
    for text in texts:
        if hash(text) in _GOOD:
            continue
        if text is None or not _is_canonical(text):
            raise PoisonError(f"a series has no valid label text: {text!r:.100}")
        if len(_GOOD) >= GOOD_MAX:
            _GOOD.clear()
        _GOOD.add(hash(text))


def series_hash(text: str) -> int:
    """A stable 64-bit hash (BLAKE2b), the same in every process and version.

    >>> series_hash('{"__name__":"cpu"}') == series_hash('{"__name__":"cpu"}')
    True
    """
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def series_partition(text: str, partitions: int) -> int:
    """The one partition in which all samples of a series lie, whoever sends them."""
    return 0 if partitions == 1 else series_hash(text) % partitions


def _is_canonical(text: str) -> bool:
    try:
        name, labels = parse_series(text)
    except (msgspec.MsgspecError, KeyError, RecursionError):
        return False
    return labels_problem(name, labels) is None and series_text(name, labels) == text
