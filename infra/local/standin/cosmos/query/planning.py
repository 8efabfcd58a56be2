"""Query plans: how an SDK is to run an ordered query that spans physical partitions and merge what they answer.

The SDK asks for a plan (x-ms-cosmos-is-query-plan-request) after the service refused the query with 400 / 1004, runs
the rewritten query on each range of partition keys and merges by `orderByItems` and `payload`. Sources: azure-cosmos
`_execution_context/query_execution_info.py`, `aio/multi_execution_aggregator.py`, `aio/endpoint_component.py`; the
form of the rewritten text as in azure-cosmos-dotnet-v3's query plan baselines.
"""

from typing import Any

from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.query.language import Query

_NOT_SERVABLE = 1004  # SubStatusCodes.CROSS_PARTITION_QUERY_NOT_SERVABLE
_FILTER = "{documentdb-formattableorderbyquery-filter}"  # the SDK puts true in its place
_WHOLE = [{"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}]


def needs_plan_error() -> CosmosError:
    """400 / 1004 for a query whose results must be merged, upon which the SDK asks for a plan."""
    return CosmosError(
        400,
        "The provided cross partition query can not be directly served by the gateway. This is a first chance "
        "(internal) exception that all newer clients will know how to handle gracefully. This exception is traced, "
        "but unless you see it bubble up as an exception (which only happens on older SDK clients), then you can "
        "safely ignore this message.",
        substatus=_NOT_SERVABLE,
    )


def make_plan(query: Query) -> dict[str, Any]:
    """The plan as JSON."""
    order = query.order
    return {
        "partitionedQueryExecutionInfoVersion": 2,
        "queryInfo": {
            "distinctType": "None",
            "top": None,
            "offset": None,
            "limit": None,
            "orderBy": [_direction(query)] if order else [],
            "orderByExpressions": [order.text] if order else [],
            "groupByExpressions": [],
            "groupByAliases": [],
            "aggregates": [],
            "groupByAliasToAggregateType": {},
            "rewrittenQuery": _rewrite(query),
            "hasSelectValue": False,
            "hasNonStreamingOrderBy": False,
            "dCountInfo": None,
        },
        "queryRanges": _WHOLE,
    }


def _direction(query: Query) -> str:
    return "Descending" if query.order and query.order.descending else "Ascending"


def _rewrite(query: Query) -> str:
    if query.order is None:
        return ""
    alias, key = query.alias, query.order.text
    where = f"({query.where_text}) AND {_FILTER}" if query.where_text else _FILTER
    direction = "DESC" if query.order.descending else "ASC"
    return (
        f'SELECT {alias}._rid, [{{"item": {key}}}] AS orderByItems, {alias} AS payload FROM {alias} '  # noqa: S608
        f"WHERE ({where}) ORDER BY {key} {direction}"  # a text for the SDK, of a query that was parsed
    )
