"""The invented candidates of samples/candidates.json."""

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "samples" / "candidates.json"

type Sample = dict[str, Any]
"""`tenant`, `about`, `candidate` as `POST /candidates` takes it, and what to `expect` of each screening."""


def samples() -> list[Sample]:
    """All of them."""
    found: list[Sample] = json.loads(_FILE.read_text())
    return found


def candidate(custom_id: str) -> dict[str, Any]:
    """One candidate by its `custom_id`. Raises StopIteration."""
    return next(one["candidate"] for one in samples() if one["candidate"]["custom_id"] == custom_id)
