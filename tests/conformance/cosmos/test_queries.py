"""Queries and transactional batches on Cosmos DB's data plane, with the official SDK, and what survives a restart."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from azure.cosmos import exceptions
from azure.cosmos.aio import ContainerProxy

from infra.local.standin.cosmos.service import CosmosService
from infra.local.standin.wire import World

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
async def test_pages_of_one_partition(container: ContainerProxy, calls: Callable[[], list[str]]) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/query/pagination: x-ms-max-item-count, x-ms-continuation.
    for number in range(7):
        await container.create_item({"id": f"{number}", "pk": "p", "n": number})
    text = "SELECT VALUE c.n FROM c WHERE c.n >= @from ORDER BY c.n DESC"
    query = {"parameters": [{"name": "@from", "value": 2}], "partition_key": "p", "max_item_count": 2}
    calls()
    pages, token = [], None
    while True:
        pager = container.query_items(text, **query).by_page(token)
        pages.append([item async for item in await anext(pager)])
        token = pager.continuation_token
        if token is None:
            break
    assert pages == [[6, 5], [4, 3], [2]]
    assert Counter(calls())["query"] == 3
    with pytest.raises(HTTP) as error:
        await anext(container.query_items(text, **query).by_page("bm90aGluZw=="))
    assert error.value.status_code == 400


@pytest.mark.parametrize(
    ("text", "expected", "plans"),
    [
        # azure-cosmos aio/execution_dispatcher.py: refused with 400 / 1004, then plan, then one query for each range.
        ("SELECT VALUE c.n FROM c ORDER BY c.n", list(range(30)), 1),
        ("SELECT VALUE c.n FROM c WHERE c.n < 5 ORDER BY c.n DESC", [4, 3, 2, 1, 0], 1),
        ("SELECT VALUE c.n FROM c ORDER BY c.n OFFSET 3 LIMIT 4", [3, 4, 5, 6], 1),
        ("SELECT TOP 3 VALUE c.n FROM c ORDER BY c.n DESC", [29, 28, 27], 1),
        ("SELECT VALUE COUNT(1) FROM c WHERE c.even = true", [15], 1),
        (
            "SELECT c.n, c.pk FROM c WHERE c.n IN (1, 2) ORDER BY c.n",
            [{"n": 1, "pk": "p1"}, {"n": 2, "pk": "p2"}],
            True,
        ),
        ("SELECT VALUE c.n FROM c WHERE c.n = 7", [7], 0),
    ],
)
@pytest.mark.plays("cosmos", "create_item query query_plan")
async def test_across_partitions(
    filled: ContainerProxy, calls: Callable[[], list[str]], text: str, expected: list[Any], plans: int
) -> None:
    [item async for item in filled.query_items("SELECT * FROM c ORDER BY c.n")]  # the ranges are known from here on
    calls()
    assert [item async for item in filled.query_items(text)] == expected
    made = Counter(calls())
    assert made["query_plan"] == plans
    assert made["query"] == 3 if plans else made["query"] <= 2  # a page for each range, which may be empty


@pytest.mark.plays("cosmos", "create_item query query_plan read_feed")
async def test_everything_across_partitions_in_pages(filled: ContainerProxy) -> None:
    seen = [item["n"] async for item in filled.query_items("SELECT * FROM c", max_item_count=4)]
    assert sorted(seen) == list(range(30))
    seen = [item["n"] async for item in filled.read_all_items(max_item_count=7)]
    assert sorted(seen) == list(range(30))
    pages = filled.query_items("SELECT VALUE c.n FROM c ORDER BY c.n", max_item_count=4).by_page()
    assert [[item async for item in page] async for page in pages][:2] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.plays("cosmos", "create_item query read_item")
async def test_reading_many(filled: ContainerProxy) -> None:
    found = await filled.read_items([("i01", "p1"), ("i02", "p2"), ("i02", "p9")])
    assert sorted(item["id"] for item in found) == ["i01", "i02"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("SELECT * FORM c", "SC1001"), ("SELECT x.a FROM c", "SC2001"), ("SELECT VALUE NOWHERE(c.a) FROM c", "SC2005")],
)
@pytest.mark.plays("cosmos", "query")
async def test_a_wrong_query_is_refused(container: ContainerProxy, text: str, code: str) -> None:
    for partition in ({}, {"partition_key": "p"}):
        with pytest.raises(HTTP) as error:
            [item async for item in container.query_items(text, **partition)]
        assert error.value.status_code == 400
        assert code in error.value.message


@pytest.mark.plays("cosmos", "create_item query query_plan")
async def test_several_order_keys_need_a_composite_index(make_container: Any) -> None:
    # learn.microsoft.com/azure/cosmos-db/index-policy, composite indexes.
    index = [[{"path": "/a", "order": "ascending"}, {"path": "/b", "order": "descending"}]]
    indexed = await make_container(indexing_policy={"compositeIndexes": index})
    plain = await make_container()
    text = "SELECT VALUE c.id FROM c ORDER BY c.a, c.b DESC"
    for number in range(6):
        await indexed.create_item({"id": f"{number}", "pk": f"p{number}", "a": number % 2, "b": number})
    assert [item async for item in indexed.query_items(text)] == ["4", "2", "0", "5", "3", "1"]
    with pytest.raises(HTTP, match="composite index") as error:
        [item async for item in plain.query_items(text)]
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
            ("read", ("kept",)),
            ("delete", ("gone",), {"if_match_etag": gone["_etag"]}),
        ],
        "p",
    )
    assert [result["statusCode"] for result in results] == [201, 201, 200, 200, 200, 204]
    assert results[4]["resourceBody"]["n"] == 3
    assert results[4]["eTag"] == results[3]["eTag"] == (await container.read_item("kept", "p"))["_etag"]
    left = {item["id"] async for item in container.query_items("SELECT * FROM c", partition_key="p")}
    assert left == {"new", "up", "kept"}


@pytest.mark.parametrize(
    ("failing", "status"),
    [
        (("create", ({"id": "kept", "pk": "p"},)), 409),
        (("read", ("missing",)), 404),
        (("delete", ("kept",), {"if_match_etag": '"stale"'}), 412),
        (("create", ({"id": "x", "pk": "other"},)), 400),
    ],
)
@pytest.mark.plays("cosmos", "batch create_item query")
async def test_a_failing_batch_changes_nothing(container: ContainerProxy, failing: Any, status: int) -> None:
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
    operations = [("create", ({"id": f"{number}", "pk": "p"},)) for number in range(101)]
    with pytest.raises(HTTP) as error:
        await container.execute_item_batch(operations, "p")
    assert error.value.status_code == 400
    await container.execute_item_batch(operations[:100], "p")


@pytest.mark.standin
@pytest.mark.plays("cosmos", "batch create_item delete_item upsert_item")
async def test_everything_written_is_there_after_a_restart(filled: ContainerProxy, cloud: Any, account: Any) -> None:
    await filled.upsert_item({"id": "i00", "pk": "p0", "n": 100})
    await filled.delete_item("i01", "p1")
    await filled.execute_item_batch([("create", ({"id": "b", "pk": "p0"},)), ("delete", ("i10",))], "p0")

    def both() -> list[dict[str, dict[str, Any]]]:
        azure = cloud.azure
        again = CosmosService(World(azure.world.storage), azure.accounts, azure.tokens)
        return [
            {body["id"]: body for path, body in service.items(account.name) if path == filled.container_link}
            for service in (azure.cosmos, again)
        ]

    before, after = cloud.call(both)
    assert after == before
    assert {"i00", "b"} <= after.keys()
    assert not {"i01", "i10"} & after.keys()
