"""Lists: a limit, and an opaque cursor that only works where it was given out."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from shared.core.errors import BulkheadError, Kind

DEFAULT_LIMIT = 25
LARGEST_LIMIT = 100

_LIMIT = re.compile(r"[1-9][0-9]{0,2}")


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list."""

    data: Sequence[Any]
    has_more: bool
    next: str | None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page starts and how long it is. `scope` names the list that the cursor belongs to."""

    scope: str
    after: str | None
    limit: int

    def page(self, found: Sequence[_HasId], shown: Sequence[Any]) -> Page:
        """The page out of `limit` + 1 found objects (one more tells whether there are more)."""
        more = len(found) > self.limit
        cursor = _encode(self.scope, found[self.limit - 1].id) if more else None
        return Page(data=list(shown[: self.limit]), has_more=more, next=cursor)


def position(params: Mapping[str, str], *scope: str) -> Position:
    """Read `limit` and `cursor`. Raises BulkheadError (invalid), also for a cursor of another list or tenant.

    The cursor holds the id after which the next page starts, so that it stays good when objects are added, and a
    checksum with the scope (tenant, route, filters). It gives no right: what it leads to is the caller's own list.
    """
    text = params.get("limit", "").strip()
    if text and not (_LIMIT.fullmatch(text) and int(text) <= LARGEST_LIMIT):
        raise BulkheadError(Kind.INVALID, "invalid_limit", f"limit must be 1 to {LARGEST_LIMIT}.")
    joined = "\n".join(scope)
    cursor = params.get("cursor", "").strip()
    return Position(joined, _decode(joined, cursor) if cursor else None, int(text) if text else DEFAULT_LIMIT)


def _encode(scope: str, after: str) -> str:
    return base64.urlsafe_b64encode(_check(scope, after) + after.encode()).decode().rstrip("=")


def _decode(scope: str, cursor: str) -> str:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        after = raw[8:].decode()
    except ValueError:
        raise _foreign() from None
    if raw[:8] != _check(scope, after) or _encode(scope, after) != cursor:
        raise _foreign()
    return after


def _check(scope: str, after: str) -> bytes:
    return hashlib.sha256(f"cursor\n{scope}\n{after}".encode()).digest()[:8]


def _foreign() -> BulkheadError:
    return BulkheadError(Kind.INVALID, "invalid_cursor", "The cursor does not belong to this list.")
