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
from functools import lru_cache
from typing import Any

from infra.local.standin.cosmos.errors import bad_request
from infra.local.standin.cosmos.query import syntax
from infra.local.standin.cosmos.query.evaluation import (
    UNDEFINED,
    Evaluator,
    Parameters,
    Predicate,
    compile_aggregate,
    compile_expression,
    compile_predicate,
    rank,
)
from infra.local.standin.cosmos.query.language import parse_query
from infra.local.standin.cosmos.store import Item, to_json
from infra.local.standin.cosmos.throughput import query_charge

DEFAULT_PAGE = 100
_MAX_PAGE_BYTES = 4 * 1024 * 1024


@dataclass(slots=True, frozen=True)
class Page:
    """Results as JSON texts; `continuation` is None at the end."""

    results: list[bytes]
    continuation: str | None
    charge: float


@dataclass(slots=True, frozen=True)
class _Row:
    item: Item
    values: tuple[Any, ...]  # what the order's keys give

    def place(self) -> tuple[Any, ...]:
        return (*(_comparable(value) for value in self.values), self.item.number)


class CompiledQuery:
    """A query made ready to run; `query` is its tree."""

    def __init__(self, text: str) -> None:
        self.query = parse_query(text)
        self._digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._predicate: Predicate | None = compile_predicate(self.query.where) if self.query.where else None
        self._keys: list[Evaluator] = [compile_expression(key.value) for key in self.query.order]
        self._descending = [key.descending for key in self.query.order]
        self._aggregate = compile_aggregate(_selected(self.query)) if self.query.is_aggregate else None
        self._project = None if self._aggregate else _projection(self.query)

    def run(self, items: Iterable[Item], parameters: Parameters, continuation: str | None, page_size: int) -> Page:
        """One page over `items` (any order). `page_size` -1: as many as fit. Raises CosmosError 400."""
        predicate = self._predicate
        found = [item for item in items if predicate is None or predicate(item.body, parameters) is True]
        if self._aggregate is not None:
            text = to_json(self._aggregate([item.body for item in found], parameters))
            return Page([text], None, query_charge(len(found), len(text)))
        rows = self._sorted(found, parameters)
        first, given = number(self.query.offset, parameters) or 0, 0
        if continuation is not None:
            last, given = self._read_token(continuation)
            first = next((i for i, row in enumerate(rows) if self._is_after(row.place(), last)), len(rows))
        end = len(rows)
        for limit in (self.query.top, self.query.limit):
            if limit is not None:
                end = min(end, first + max(0, (number(limit, parameters) or 0) - given))
        return self._page(rows[first:end], parameters, given, page_size)

    def _page(self, rows: list[_Row], parameters: Parameters, given: int, page_size: int) -> Page:
        results: list[bytes] = []
        size = 0
        for position, row in enumerate(rows):
            if len(results) == page_size:
                return self._cut(results, size, rows[position - 1], given)
            text = row.item.text
            if self._project is not None:
                value = self._project(row.item.body, parameters)
                if value is UNDEFINED:
                    continue
                text = to_json(value)
            if results and size + len(text) > _MAX_PAGE_BYTES:
                return self._cut(results, size, rows[position - 1], given)
            results.append(text)
            size += len(text)
        return Page(results, None, query_charge(len(results), size))

    def _cut(self, results: list[bytes], size: int, last: _Row, given: int) -> Page:
        """A page after which more follows; `last` is its last row."""
        token = {"query": self._digest, "place": last.place(), "given": given + len(results)}
        text = base64.urlsafe_b64encode(to_json(token)).decode()
        return Page(results, text, query_charge(len(results), size))

    def _sorted(self, found: list[Item], parameters: Parameters) -> list[_Row]:
        rows = [_Row(item, tuple(key(item.body, parameters) for key in self._keys)) for item in found]
        rows.sort(key=lambda row: row.item.number)
        for index in reversed(range(len(self._keys))):
            rows.sort(key=lambda row: _comparable(row.values[index]), reverse=self._descending[index])
        return rows

    def _is_after(self, place: tuple[Any, ...], last: tuple[Any, ...]) -> bool:
        for mine, other, descending in zip(place, last, [*self._descending, False], strict=True):
            if mine != other:
                return bool(mine < other) if descending else bool(mine > other)
        return False

    def _read_token(self, text: str) -> tuple[tuple[Any, ...], int]:
        try:
            token = json.loads(base64.urlsafe_b64decode(text))
            *keys, at = token["place"]
            place = (*(tuple(key) for key in keys), int(at))
            if token["query"] == self._digest and len(keys) == len(self._keys):
                return place, int(token["given"])
        except (ValueError, KeyError, TypeError):
            pass
        raise bad_request("Invalid Continuation Token.")


@lru_cache(maxsize=1024)
def compile_query(text: str) -> CompiledQuery:
    """The compiled query of a text. Raises CosmosError 400."""
    return CompiledQuery(text)


def number(value: syntax.Literal | syntax.Parameter | None, parameters: Parameters) -> int | None:
    """The value of TOP, OFFSET or LIMIT. Raises CosmosError 400 when it is no whole number of at least 0."""
    if value is None:
        return None
    found = value.value if isinstance(value, syntax.Literal) else parameters.get(value.name)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise bad_request("The value of TOP, OFFSET and LIMIT must be a whole number of at least 0.")
    return found


def check_order(query: syntax.Query, indexing_policy: dict[str, Any]) -> None:
    """Raise CosmosError 400 for an order that the container's index cannot serve.

    Source: learn.microsoft.com/azure/cosmos-db/index-policy (composite indexes): several keys need a composite index
    of just these paths in this sequence, with the same directions or all of them reversed.
    """
    wanted: list[tuple[str, bool]] = []
    for key in query.order:
        if not isinstance(key.value, syntax.Path) or not key.value.steps:
            raise bad_request(
                "Unsupported ORDER BY clause. ORDER BY item expression could not be mapped to a document path."
            )
        wanted.append(("/" + "/".join(map(str, key.value.steps)), key.descending))
    if len(wanted) < 2:
        return
    reverse = [(path, not descending) for path, descending in wanted]
    for index in indexing_policy.get("compositeIndexes") or []:
        offered = [(part["path"], part.get("order", "ascending") == "descending") for part in index]
        if offered in (wanted, reverse):
            return
    raise bad_request("The order by query does not have a corresponding composite index that it can be served from.")


def _comparable(value: Any) -> tuple[int, Any]:
    kind = rank(value)
    return kind, value if kind in (2, 3, 4) else 0


def _selected(query: syntax.Query) -> syntax.Expression:
    if isinstance(query.select, tuple):
        return syntax.Object(tuple((column.name, column.value) for column in query.select))
    return query.select if query.select is not None else syntax.Path(query.alias)


def _projection(query: syntax.Query) -> Evaluator | None:
    """None when the whole item is selected."""
    selected = _selected(query)
    return None if selected == syntax.Path(query.alias) else compile_expression(selected)
