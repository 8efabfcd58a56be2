"""Queries and transactional batches on Cosmos DB's data plane, with the official SDK."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from azure.cosmos import exceptions
from azure.cosmos.aio import ContainerProxy

HTTP = exceptions.CosmosHttpResponseError


@pytest.fixture
async def filled(container: ContainerProxy) -> ContainerProxy:
    """30 items: in each of ten logical partitions, over both physical ones, three."""
    for number in range(30):
        await container.create_item(
            {"id": f"i{number:02}", "pk": f"p{number % 10}", "n": number, "even": not number % 2}
        )
    return container


@pytest.mark.plays("cosmos", "create_item query")
async def test_pages_of_one_partition(container: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/query/pagination: x-ms-max-item-count, x-ms-continuation.
    for number in range(7):
        await container.create_item({"id": f"{number}", "pk": "p", "n": number})
    text = "SELECT * FROM c WHERE c.n >= @from ORDER BY c.n DESC"
    query = {"parameters": [{"name": "@from", "value": 2}], "partition_key": "p", "max_item_count": 2}
    pages, token = [], None
    while True:
        pager = container.query_items(text, **query).by_page(token)
        pages.append([item["n"] async for item in await anext(pager)])
        token = pager.continuation_token
        if token is None:
            break
    assert pages == [[6, 5], [4, 3], [2]]
    with pytest.raises(HTTP) as error:
        await anext(container.query_items(text, **query).by_page("bm90aGluZw=="))
    assert error.value.status_code == 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM c ORDER BY c.n", list(range(30))),
        ("SELECT * FROM c WHERE c.n < 5 ORDER BY c.n DESC", [4, 3, 2, 1, 0]),
        ("SELECT * FROM c WHERE c.even = true AND (c.n <= 4 AND c.n >= 2) ORDER BY c.n", [2, 4]),
        ("SELECT * FROM c WHERE c.n = 7", [7]),
    ],
)
@pytest.mark.plays("cosmos", "create_item query")
async def test_across_partitions(filled: ContainerProxy, text: str, expected: list[int]) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/query/order-by; azure-cosmos aio/multi_execution_aggregator.py merges.
    assert [item["n"] async for item in filled.query_items(text)] == expected
    pages = filled.query_items(text, max_item_count=4).by_page()
    assert [item["n"] async for page in pages async for item in page] == expected


@pytest.mark.plays("cosmos", "create_item query")
async def test_everything_across_partitions_in_pages(filled: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/query/pagination: a page may hold fewer items than asked for.
    pages = [
        [item["n"] async for item in page]
        async for page in filled.query_items("SELECT * FROM c", max_item_count=4).by_page()
    ]
    assert sorted(number for page in pages for number in page) == list(range(30))
    assert max(map(len, pages)) == 4
    ordered = filled.query_items("SELECT * FROM c ORDER BY c.n", max_item_count=4).by_page()
    assert [[item["n"] async for item in page] async for page in ordered][:2] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.standin
@pytest.mark.parametrize(("text", "plans"), [("SELECT * FROM c ORDER BY c.n", 1), ("SELECT * FROM c", 0)])
@pytest.mark.plays("cosmos", "create_item query")
async def test_requests_of_a_query_across_partitions(
    filled: ContainerProxy, calls: Callable[[], list[str]], text: str, plans: int
) -> None:
    # azure-cosmos aio/execution_dispatcher.py: refused with 400 / 1004, then plan, then one query for each range.
    [item async for item in filled.query_items("SELECT * FROM c ORDER BY c.n")]  # the ranges are known from here on
    calls()
    assert len([item async for item in filled.query_items(text)]) == 30
    made = Counter(calls())
    assert made["query_plan"] == plans
    assert made["query"] == 3 if plans else made["query"] <= 2  # a page for each range, which may be empty


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT * FORM c", "SC1001"),
        ("SELECT * FROM c WHERE x.a = 1", "SC2001"),
    ],
)
@pytest.mark.plays("cosmos", "query")
async def test_a_wrong_query_is_refused(container: ContainerProxy, text: str, code: str) -> None:
    # learn.microsoft.com/rest/api/cosmos-db/query-documents: 400 for a query with errors.
    for partition in ({}, {"partition_key": "p"}):
        with pytest.raises(HTTP) as error:
            [item async for item in container.query_items(text, **partition)]
        assert error.value.status_code == 400
        assert code in error.value.message


@pytest.mark.standin
@pytest.mark.parametrize(
    "text",
    [
        "SELECT VALUE c.id FROM c",
        "SELECT c.id FROM c",
        "SELECT VALUE COUNT(1) FROM c",
        "SELECT TOP 1 * FROM c",
        "SELECT * FROM c OFFSET 1 LIMIT 2",
        "SELECT * FROM c WHERE c.a IN (1, 2)",
        "SELECT * FROM c WHERE c.a = 1 OR NOT c.b != 2",
        "SELECT * FROM c WHERE IS_DEFINED(c.a)",
        'SELECT * FROM c WHERE c["a"] = 1',
        "SELECT * FROM c ORDER BY c.a, c.b",
        "SELECT * FROM c JOIN t IN c.tags",
    ],
)
@pytest.mark.plays("cosmos", "query")
@pytest.mark.not_played(
    "of the query language all that Bulkhead's stores do not use; it is refused like a syntax error"
)
async def test_a_query_beyond_the_stores_own(container: ContainerProxy, text: str) -> None:
    with pytest.raises(HTTP, match="SC1001") as error:
        [item async for item in container.query_items(text, partition_key="p")]
    assert error.value.status_code == 400


@pytest.mark.plays("cosmos", "batch create_item query read_item")
async def test_a_batch(container: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/transactional-batch
    kept = await container.create_item({"id": "kept", "pk": "p", "n": 1})
    gone = await container.create_item({"id": "gone", "pk": "p"})
    results = await container.execute_item_batch(
        [
            ("create", ({"id": "new", "pk": "p"},)),
            ("upsert", ({"id": "up", "pk": "p"},)),
            ("replace", ("kept", {"id": "kept", "pk": "p", "n": 2}), {"if_match_etag": kept["_etag"]}),
            (
                "patch",
                ("kept", [{"op": "incr", "path": "/n", "value": 1}]),
                {"filter_predicate": "from c where c.n = 2"},
            ),
            ("delete", ("gone",), {"if_match_etag": gone["_etag"]}),
        ],
        "p",
    )
    assert [result["statusCode"] for result in results] == [201, 201, 200, 200, 204]
    assert results[3]["resourceBody"]["n"] == 3
    assert results[3]["eTag"] == (await container.read_item("kept", "p"))["_etag"]
    left = {item["id"] async for item in container.query_items("SELECT * FROM c", partition_key="p")}
    assert left == {"new", "up", "kept"}


@pytest.mark.parametrize(
    ("failing", "status"),
    [
        (("create", ({"id": "kept", "pk": "p"},)), 409),
        (("delete", ("missing",)), 404),
        (("delete", ("kept",), {"if_match_etag": '"stale"'}), 412),
        (("create", ({"id": "x", "pk": "other"},)), 400),
    ],
)
@pytest.mark.plays("cosmos", "batch create_item query")
async def test_a_failing_batch_changes_nothing(container: ContainerProxy, failing: Any, status: int) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/transactional-batch: 207, the failed one its status, the others 424.
    before = await container.create_item({"id": "kept", "pk": "p", "n": 1})
    with pytest.raises(exceptions.CosmosBatchOperationError) as error:
        await container.execute_item_batch(
            [
                ("replace", ("kept", {"id": "kept", "pk": "p", "n": 2})),
                ("create", ({"id": "new", "pk": "p"},)),
                failing,
                ("delete", ("new",)),
            ],
            "p",
        )
    assert (error.value.error_index, error.value.status_code) == (2, status)
    assert [result["statusCode"] for result in error.value.operation_responses] == [424, 424, status, 424]
    assert [item async for item in container.query_items("SELECT * FROM c", partition_key="p")] == [before]


@pytest.mark.plays("cosmos", "batch")
async def test_a_batch_has_at_most_a_hundred_operations(container: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/concepts-limits, per-request limits.
    operations = [("create", ({"id": f"{number}", "pk": "p"},)) for number in range(101)]
    with pytest.raises(HTTP) as error:
        await container.execute_item_batch(operations, "p")
    assert error.value.status_code == 400
    await container.execute_item_batch(operations[:100], "p")
