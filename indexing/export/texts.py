"""Texts as XML can hold them."""

from __future__ import annotations

import re

_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    r"""Return ``text`` with a question mark for each character that XML 1.0 (section 2.2) does not allow.

    These are control characters, and what stands for the bytes of a path that are no Unicode.

    Example:
        >>> clean("a\x07b\udcff.mp4")
        'a?b?.mp4'
    """
    return _FORBIDDEN.sub("?", text)
