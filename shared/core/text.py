"""Forms of texts that come from outside."""

GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
"""A regular expression: letters of either case."""

VISIBLE = r"(?=.*\S)[^\x00-\x1f\x7f]*"
"""A regular expression: not blank, and without control characters."""


def whole(pattern: str) -> str:
    r"""A regular expression that `pattern` must match from end to end, for Python and for readers of JSON Schema.

    Python's `$` alone also matches before a last line feed, so `^a$` would let "a\n" pass.
    """
    return rf"^(?:{pattern})$(?!\n)"
