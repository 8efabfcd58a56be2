"""Showing what others wrote."""

import json


def printable(text: str) -> str:
    """`text` for a terminal: what is no visible letter as an escape of JSON, so that none moves the cursor."""
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
