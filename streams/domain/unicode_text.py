"""Text from outside: JSON can name half a surrogate pair, which no UTF-8 can write."""

from __future__ import annotations


def is_text(text: str) -> bool:
    r"""Whether UTF-8 can write it.

    >>> is_text("Grüße"), is_text("\ud800")
    (True, False)
    """
    return cleaned(text, len(text)) == text


def cleaned(text: str, chars_max: int) -> str:
    r"""What UTF-8 can write of its first ``chars_max`` characters, ``?`` for the rest of those.

    >>> cleaned("a\ud800bc", 3)
    'a?b'
    """
    return text[:chars_max].encode("utf-8", "replace").decode()
