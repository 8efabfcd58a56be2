"""Forms of texts that come from outside."""

import json

GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
"""A regular expression: letters of either case."""

VISIBLE = r"(?=.*\S)[^\x00-\x1f\x7f]*"
"""A regular expression: not blank, and without control characters."""


def whole(pattern: str) -> str:
    r"""A regular expression that `pattern` must match from end to end, for Python and for readers of JSON Schema.

    Python's `$` alone also matches before a last line feed, so `^a$` would let "a\n" pass.
    """
    return rf"^(?:{pattern})$(?!\n)"


def printable(text: str) -> str:
    """`text` for a terminal: what is no visible letter as an escape of JSON, so that none moves the cursor."""
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
