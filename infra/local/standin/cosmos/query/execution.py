"""Running a query over items, page by page.

A continuation token names the last item given out, by its place in the order, so that changes between two pages
neither repeat nor skip items that stay. Page sizes: learn.microsoft.com/azure/cosmos-db/query/pagination (100 items
by default, at most 4 MB).
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from infra.local.standin.cosmos.errors import bad_request
from infra.local.standin.cosmos.query.evaluation import UNDEFINED, Parameters, comparable
from infra.local.standin.cosmos.query.language import Query
from infra.local.standin.cosmos.store import Item, to_json
from infra.local.standin.cosmos.throughput import query_charge

DEFAULT_PAGE = 100
_MAX_PAGE_BYTES = 4 * 1024 * 1024

type _Place = tuple[tuple[int, bool | int | float | str], int]
"""What an item is sorted by: the order's value, or without an order its physical partition; then its number."""


@dataclass(slots=True, frozen=True)
class Page:
    """Results as JSON texts; `continuation` is None at the end."""

    results: list[bytes]
    continuation: str | None
    charge: float


class _Token(msgspec.Struct):
    query: str
    place: _Place


def run(query: Query, items: Iterable[Item], parameters: Parameters, continuation: str | None, size: int) -> Page:
    """One page over `items` (any order) of at most `size`, -1 for as many as fit. Raises CosmosError 400.

    Without an order a page ends where a physical partition does.
    """
    where = query.where
    rows = [
        (_place(query, item, parameters), item)
        for item in items
        if where is None or where(item.body, parameters) is True
    ]
    rows.sort(key=lambda row: row[0], reverse=query.descending)
    if continuation is not None:
        last = _read_token(query, continuation)
        rows = [row for row in rows if (row[0] < last if query.descending else row[0] > last)]
    results: list[bytes] = []
    given = 0
    for position, (place, item) in enumerate(rows):
        text = _result(query, item, parameters)
        if results:
            before, _ = rows[position - 1]
            is_full = len(results) == size or given + len(text) > _MAX_PAGE_BYTES
            if is_full or (query.order is None and place[0] != before[0]):
                return Page(results, _token(query, before), query_charge(len(results), given))
        results.append(text)
        given += len(text)
    return Page(results, None, query_charge(len(results), given))


def _place(query: Query, item: Item, parameters: Parameters) -> _Place:
    return comparable(query.order(item.body, parameters)) if query.order else (0, item.key.physical), item.number


def _result(query: Query, item: Item, parameters: Parameters) -> bytes:
    if query.order is None or not query.merged:
        return item.text
    value = query.order(item.body, parameters)
    order = [{} if value is UNDEFINED else {"item": value}]
    return to_json({"_rid": item.body["_rid"], "orderByItems": order, "payload": item.body})


def _digest(query: Query) -> str:
    return hashlib.sha256(query.text.encode()).hexdigest()[:16]


def _token(query: Query, last: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Token(_digest(query), last))).decode()


def _read_token(query: Query, text: str) -> _Place:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Token)
        if token.query == _digest(query):
            return token.place
    except ValueError:
        pass
    raise bad_request("Invalid Continuation Token.")
