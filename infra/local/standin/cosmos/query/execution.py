"""Running a query over the items of one partition, page by page.

A continuation token names the last item given out, by its place in the order, so that changes between two pages
neither repeat nor skip items that stay. Page sizes: learn.microsoft.com/azure/cosmos-db/query/pagination (100 items
by default, at most 4 MB).
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from infra.local.standin.cosmos.errors import bad_request
from infra.local.standin.cosmos.query.evaluation import UNDEFINED, Parameters, rank
from infra.local.standin.cosmos.query.language import Query
from infra.local.standin.cosmos.store import Item, to_json
from infra.local.standin.cosmos.throughput import query_charge

DEFAULT_PAGE = 100
_MAX_PAGE_BYTES = 4 * 1024 * 1024

type _Place = tuple[tuple[int, Any], int]


@dataclass(slots=True, frozen=True)
class Page:
    """Results as JSON texts; `continuation` is None at the end."""

    results: list[bytes]
    continuation: str | None
    charge: float


@dataclass(slots=True, frozen=True)
class _Row:
    item: Item
    value: Any  # what the order's key gives

    def place(self) -> _Place:
        return _comparable(self.value), self.item.number


def run(query: Query, items: Iterable[Item], parameters: Parameters, continuation: str | None, size: int) -> Page:
    """One page over `items` (any order) of at most `size`, -1 for as many as fit. Raises CosmosError 400."""
    where, order = query.where, query.order
    rows = [
        _Row(item, order.value(item.body, parameters) if order else None)
        for item in items
        if where is None or where(item.body, parameters) is True
    ]
    rows.sort(key=lambda row: row.item.number)
    if order:
        rows.sort(key=lambda row: _comparable(row.value), reverse=order.descending)
    first = 0
    if continuation is not None:
        last = _read_token(query, continuation)
        descending = order is not None and order.descending
        first = next((i for i, row in enumerate(rows) if _is_after(row.place(), last, descending)), len(rows))
    results: list[bytes] = []
    given = 0
    for position in range(first, len(rows)):
        text = _result(query, rows[position])
        if len(results) == size or (results and given + len(text) > _MAX_PAGE_BYTES):
            return Page(results, _token(query, rows[position - 1].place()), query_charge(len(results), given))
        results.append(text)
        given += len(text)
    return Page(results, None, query_charge(len(results), given))


def _result(query: Query, row: _Row) -> bytes:
    if not query.merged:
        return row.item.text
    item = {} if row.value is UNDEFINED else {"item": row.value}
    return to_json({"_rid": row.item.body["_rid"], "orderByItems": [item], "payload": row.item.body})


def _is_after(place: _Place, last: _Place, descending: bool) -> bool:  # noqa: FBT001 - one use, right above
    if place[0] == last[0]:
        return place[1] > last[1]
    return (place[0] < last[0]) is descending


def _digest(query: Query) -> str:
    return hashlib.sha256(query.text.encode()).hexdigest()[:16]


def _token(query: Query, last: _Place) -> str:
    return base64.urlsafe_b64encode(to_json({"query": _digest(query), "place": last})).decode()


def _read_token(query: Query, text: str) -> _Place:
    try:
        token = json.loads(base64.urlsafe_b64decode(text))
        (kind, value), number = token["place"]
        if token["query"] == _digest(query):
            return (int(kind), value), int(number)
    except (ValueError, KeyError, TypeError):
        pass
    raise bad_request("Invalid Continuation Token.")


def _comparable(value: Any) -> tuple[int, Any]:
    kind = rank(value)
    return kind, value if kind in (2, 3, 4) else 0
