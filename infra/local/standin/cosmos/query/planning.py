"""Query plans: how an SDK is to run a query that spans physical partitions and merge what they answer.

The SDK asks for a plan (x-ms-cosmos-is-query-plan-request) after the service refused the query with 400 / 1004, runs
the rewritten query on each range of partition keys and merges by `orderByItems`, `payload`, offset, limit and
aggregates. Sources: azure-cosmos `_execution_context/query_execution_info.py`, `aio/multi_execution_aggregator.py`,
`aio/endpoint_component.py`; the form of the rewritten text as in azure-cosmos-dotnet-v3's query plan baselines.
"""

from typing import Any

from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.query import syntax
from infra.local.standin.cosmos.query.evaluation import Parameters
from infra.local.standin.cosmos.query.execution import number

_NOT_SERVABLE = 1004  # SubStatusCodes.CROSS_PARTITION_QUERY_NOT_SERVABLE
_FILTER = "{documentdb-formattableorderbyquery-filter}"  # the SDK puts a resuming filter, or true, in its place
_WHOLE = [{"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}]


def needs_plan(query: syntax.Query) -> bool:
    """True for a query whose results from several partitions must be merged by the SDK."""
    return bool(query.order or query.is_aggregate) or query.top is not None or query.offset is not None


def needs_plan_error() -> CosmosError:
    """400 / 1004, upon which the SDK asks for a plan."""
    return CosmosError(
        400,
        "The provided cross partition query can not be directly served by the gateway. This is a first chance "
        "(internal) exception that all newer clients will know how to handle gracefully. This exception is traced, "
        "but unless you see it bubble up as an exception (which only happens on older SDK clients), then you can "
        "safely ignore this message.",
        substatus=_NOT_SERVABLE,
    )


def make_plan(query: syntax.Query, parameters: Parameters) -> dict[str, Any]:
    """The plan as JSON."""
    rewritten = _rewrite(query, parameters) if query.order or query.is_aggregate or query.offset is not None else ""
    return {
        "partitionedQueryExecutionInfoVersion": 2,
        "queryInfo": {
            "distinctType": "None",
            "top": number(query.top, parameters),
            "offset": number(query.offset, parameters),
            "limit": number(query.limit, parameters),
            "orderBy": ["Descending" if key.descending else "Ascending" for key in query.order],
            "orderByExpressions": [syntax.unparse(key.value) for key in query.order],
            "groupByExpressions": [],
            "groupByAliases": [],
            "aggregates": ["Count"] if query.is_aggregate else [],
            "groupByAliasToAggregateType": {},
            "rewrittenQuery": rewritten,
            "hasSelectValue": query.select is not None and not isinstance(query.select, tuple),
            "hasNonStreamingOrderBy": False,
            "dCountInfo": None,
        },
        "queryRanges": _WHOLE,
    }


def _rewrite(query: syntax.Query, parameters: Parameters) -> str:
    where = syntax.unparse(query.where) if query.where else None
    top = f"TOP {number(query.top, parameters)} " if query.top is not None else ""
    if query.order:
        keys = ", ".join(f'{{"item": {syntax.unparse(key.value)}}}' for key in query.order)
        select = f"{query.alias}._rid, [{keys}] AS orderByItems, {_payload(query)} AS payload"
        where = f"({where} AND {_FILTER})" if where else _FILTER
    elif query.is_aggregate:
        select = f'VALUE [{{"item": {_payload(query)}}}]'
    else:
        select = _select(query)
    text = f"SELECT {top}{select} FROM {query.alias}"  # noqa: S608 - a text for the SDK, of a tree that was parsed
    if where:
        text += f" WHERE {where}"
    if query.order:
        keys = ", ".join(f"{syntax.unparse(key.value)} {'DESC' if key.descending else 'ASC'}" for key in query.order)
        text += f" ORDER BY {keys}"
    if query.offset is not None:
        # Each partition may hold all the skipped items, so each gives offset + limit and the SDK skips.
        end = (number(query.offset, parameters) or 0) + (number(query.limit, parameters) or 0)
        text += f" OFFSET 0 LIMIT {end}"
    return text


def _payload(query: syntax.Query) -> str:
    match query.select:
        case None:
            return query.alias
        case tuple():
            return syntax.unparse(syntax.Object(tuple((column.name, column.value) for column in query.select)))
        case _:
            return syntax.unparse(query.select)


def _select(query: syntax.Query) -> str:
    return "*" if query.select is None else f"VALUE {_payload(query)}"
