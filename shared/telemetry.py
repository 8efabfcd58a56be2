"""Structured logs: an event's name and allow-listed fields, one JSON object a line.

The list is the point: a field that is not on it cannot be logged, so neither secrets nor personal data can slip in.
"""

import json
import logging
import traceback
from collections.abc import Mapping

_LOGGER = logging.getLogger("bulkhead")

FIELDS = frozenset({
    "request_id", "tenant_id", "function", "action", "status", "code", "step", "failure", "attempt",
    "actor", "report_id", "screening_id", "fate", "reason", "error", "where", "seconds",
})  # fmt: skip


def quieten_sdks() -> None:
    """The SDKs log requests and quote answers; what matters of them is in our own events."""
    for name in ("azure", "msal", "aiohttp"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Its clients look at their endpoints in the background every five minutes. When the lease under which they began to
    # has ended by then, the look is refused, as it should be, and the client logs that as an error.
    logging.getLogger("azure.cosmos").setLevel(logging.CRITICAL)


def event(name: str, /, **fields: str | float | None) -> None:
    """Log `name` with `fields`. Raises ValueError for a field that is not allowed: a mistake of ours."""
    _emit(logging.INFO, name, fields)


def failure(name: str, error: BaseException, **fields: str | float | None) -> None:
    """Log an unexpected error by its type and place. Its text is left out: it may quote what was processed."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    _emit(logging.ERROR, name, {"error": type(error).__name__, "where": where, **fields})


def _emit(level: int, name: str, fields: Mapping[str, str | float | None]) -> None:
    if unknown := fields.keys() - FIELDS:
        raise ValueError(f"fields not allowed in logs: {sorted(unknown)}")
    _LOGGER.log(level, json.dumps({"event": name} | {key: value for key, value in fields.items() if value is not None}))
