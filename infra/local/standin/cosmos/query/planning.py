"""Query plans: how an SDK is to run an ordered query that spans physical partitions and merge what they answer.

The SDK asks for a plan (x-ms-cosmos-is-query-plan-request) after the service refused the query with 400 / 1004, runs
the rewritten query on each range of partition keys and merges by `orderByItems` and `payload`. Sources: azure-cosmos
`_execution_context/query_execution_info.py`, `aio/multi_execution_aggregator.py`, `aio/endpoint_component.py`; the
form of the rewritten text as in azure-cosmos-dotnet-v3's query plan baselines.
"""

from typing import Any

from infra.local.standin.cosmos.query.language import Query

_FILTER = "{documentdb-formattableorderbyquery-filter}"  # the SDK puts true in its place


def make_plan(query: Query) -> dict[str, Any]:
    """The plan as JSON."""
    return {
        "partitionedQueryExecutionInfoVersion": 2,
        "queryInfo": {
            "distinctType": "None",
            "top": None,
            "offset": None,
            "limit": None,
            "orderBy": ["Descending" if query.descending else "Ascending"] if query.order else [],
            "orderByExpressions": [query.order_text] if query.order else [],
            "groupByExpressions": [],
            "groupByAliases": [],
            "aggregates": [],
            "groupByAliasToAggregateType": {},
            "rewrittenQuery": _rewrite(query) if query.order else "",
            "hasSelectValue": False,
            "hasNonStreamingOrderBy": False,
            "dCountInfo": None,
        },
        "queryRanges": [{"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}],
    }


def _rewrite(query: Query) -> str:
    alias, key = query.alias, query.order_text
    where = f"({query.where_text}) AND {_FILTER}" if query.where else _FILTER
    direction = "DESC" if query.descending else "ASC"
    return (
        f'SELECT {alias}._rid, [{{"item": {key}}}] AS orderByItems, {alias} AS payload FROM {alias} '  # noqa: S608
        f"WHERE ({where}) ORDER BY {key} {direction}"  # a text for the SDK, of a query that was parsed
    )
