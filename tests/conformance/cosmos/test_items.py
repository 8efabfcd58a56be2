"""Items on Cosmos DB's data plane, with the official SDK."""

import asyncio
import gc
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests
from azure.core import MatchConditions
from azure.core.pipeline.transport import RequestsTransport
from azure.cosmos import CosmosClient as SyncClient
from azure.cosmos import PartitionKey, exceptions
from azure.cosmos.aio import ContainerProxy, CosmosClient

HTTP = exceptions.CosmosHttpResponseError


def status_of(error: pytest.ExceptionInfo[Any]) -> tuple[int, int | None]:
    return error.value.status_code, error.value.sub_status


@pytest.mark.plays(
    "cosmos", "create_collection create_database create_item delete_item read_database read_item replace_item"
)
async def test_an_item_is_created_read_replaced_and_deleted(container: ContainerProxy) -> None:
    # learn.microsoft.com/rest/api/cosmos-db/documents: system properties; 201, 200, 204, then 404.
    created = await container.create_item({"id": "a", "pk": "p", "text": "é ü 名"})
    assert created["text"] == "é ü 名"
    assert {"_rid", "_self", "_etag", "_attachments", "_ts"} < created.keys()
    assert await container.read_item("a", "p") == created
    replaced = await container.replace_item("a", {"id": "a", "pk": "p", "n": 1})
    assert replaced["_rid"] == created["_rid"]
    assert replaced["_etag"] != created["_etag"]
    assert "text" not in replaced
    await container.delete_item("a", "p")
    for missing in (
        container.read_item("a", "p"),
        container.delete_item("a", "p"),
        container.replace_item("a", {"id": "a", "pk": "p"}),
    ):
        with pytest.raises(exceptions.CosmosResourceNotFoundError) as error:
            await missing
        assert status_of(error) == (404, None)
        assert error.value.message.startswith("(NotFound)")


@pytest.mark.plays("cosmos", "create_item")
async def test_the_answer_s_headers(container: ContainerProxy) -> None:
    # azure-cosmos _session.py and container.py read these.
    created = await container.create_item({"id": "a", "pk": "p"})
    headers = created.get_response_headers()
    assert headers["etag"] == created["_etag"]
    assert float(headers["x-ms-request-charge"]) > 0
    assert headers["x-ms-session-token"].startswith(headers["x-ms-documentdb-partitionkeyrangeid"] + ":")
    assert headers["x-ms-alt-content-path"] == container.container_link
    assert headers["x-ms-activity-id"]


@pytest.mark.plays("cosmos", "read_item upsert_item")
async def test_upsert_creates_then_replaces(container: ContainerProxy) -> None:
    # learn.microsoft.com/rest/api/cosmos-db/create-a-document, x-ms-documentdb-is-upsert: 201 created, 200 replaced.
    statuses: list[int] = []

    def note(response: Any) -> None:
        statuses.append(response.http_response.status_code)

    await container.upsert_item({"id": "a", "pk": "p", "n": 1}, raw_response_hook=note)
    await container.upsert_item({"id": "a", "pk": "p", "n": 2}, raw_response_hook=note)
    assert statuses == [201, 200]
    assert (await container.read_item("a", "p"))["n"] == 2


@pytest.mark.plays("cosmos", "create_item")
async def test_an_id_is_unique_in_its_logical_partition(container: ContainerProxy) -> None:
    # learn.microsoft.com/rest/api/cosmos-db/create-a-document: 409 for an id that is taken.
    await container.create_item({"id": "a", "pk": "p"})
    await container.create_item({"id": "a", "pk": "q"})
    with pytest.raises(exceptions.CosmosResourceExistsError) as error:
        await container.create_item({"id": "a", "pk": "p"})
    assert status_of(error) == (409, None)
    assert error.value.message.startswith("(Conflict)")


@pytest.mark.plays("cosmos", "create_item delete_item patch_item replace_item upsert_item")
async def test_etags_guard_changes(container: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/database-transactions-optimistic-concurrency
    first = await container.create_item({"id": "a", "pk": "p", "n": 1})
    second = await container.replace_item("a", {"id": "a", "pk": "p", "n": 2})
    stale = {"etag": first["_etag"], "match_condition": MatchConditions.IfNotModified}
    for refused in (
        container.replace_item("a", {"id": "a", "pk": "p"}, **stale),
        container.upsert_item({"id": "a", "pk": "p"}, **stale),
        container.delete_item("a", "p", **stale),
        container.patch_item("a", "p", [{"op": "incr", "path": "/n", "value": 1}], **stale),
    ):
        with pytest.raises(exceptions.CosmosAccessConditionFailedError) as error:
            await refused
        assert status_of(error) == (412, None)
        assert error.value.message.startswith("(PreconditionFailed)")
    fresh = {"etag": second["_etag"], "match_condition": MatchConditions.IfNotModified}
    await container.replace_item("a", {"id": "a", "pk": "p", "n": 3}, **fresh)
    # azure-cosmos-dotnet-v3 issue 1698: a condition does not stop an upsert from creating.
    await container.upsert_item({"id": "new", "pk": "p"}, **stale)


@pytest.mark.plays("cosmos", "create_item read_item")
async def test_partition_keys(make_container: Any) -> None:
    container = await make_container(partition_key=PartitionKey("/a/b"))
    values: list[Any] = ["text", 5, 5.5, True, None]
    for value in values:
        await container.create_item({"id": "x", "a": {"b": value}})
        assert (await container.read_item("x", value))["a"] == {"b": value}
    with pytest.raises(exceptions.CosmosResourceNotFoundError):
        await container.read_item("x", "other")
    # SubStatusCodes.PARTITION_KEY_MISMATCH: the header's key is not the item's, or has too many components.
    with pytest.raises(HTTP) as error:
        await container.create_item({"id": "y", "a": {"b": ["list"]}})
    assert status_of(error) == (400, 1001)
    with pytest.raises(HTTP) as error:
        await container.read_item("x", ["one", "two"])
    assert status_of(error) == (400, 1001)


@pytest.mark.parametrize("item", [{"pk": "p"}, {"id": 5, "pk": "p"}, {"id": "", "pk": "p"}])
async def test_an_item_needs_an_id(container: ContainerProxy, item: dict[str, Any]) -> None:
    # learn.microsoft.com/rest/api/cosmos-db/create-a-document: the id is required and a string.
    with pytest.raises((HTTP, TypeError)) as error:
        await container.create_item(item)
    if isinstance(error.value, HTTP):
        assert status_of(error)[0] == 400


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's advice to the SDK
@pytest.mark.plays("cosmos", "create_item")
async def test_an_item_of_more_than_two_megabytes_is_refused(container: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/concepts-limits, per-item limits.
    await container.create_item({"id": "fits", "pk": "p", "text": "x" * (2 * 1024 * 1024 - 100)})
    with pytest.raises(HTTP) as error:
        await container.create_item({"id": "big", "pk": "p", "text": "x" * (2 * 1024 * 1024)})
    assert status_of(error) == (413, None)
    assert error.value.message.startswith("(RequestEntityTooLarge)")


@pytest.mark.plays("cosmos", "create_item read_item")
async def test_limits_of_an_items_values(container: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/concepts-limits, per-item limits: partition key 2,048 bytes, TTL 2147483647.
    longest = "é" * 1024
    await container.create_item({"id": "a", "pk": longest, "ttl": 2**31 - 1})
    assert (await container.read_item("a", longest))["pk"] == longest
    for body in ({"id": "b", "pk": longest + "x"}, {"id": "b", "pk": "p", "ttl": 2**31}):
        with pytest.raises(HTTP) as error:
            await container.create_item(body)
        assert status_of(error)[0] == 400


@pytest.mark.standin
@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**20])
@pytest.mark.not_played("numbers in items beyond the exact integers of IEEE 754 binary64, Azure's limit for them")
async def test_no_number_is_kept_more_exactly_than_on_azure(container: ContainerProxy, number: int) -> None:
    await container.create_item({"id": "exact", "pk": "p", "deep": [{"n": 2**53}]})
    with pytest.raises(HTTP) as error:
        await container.create_item({"id": "inexact", "pk": "p", "deep": [{"n": number}]})
    assert status_of(error)[0] == 501


@pytest.mark.parametrize("default_ttl", [0, -2, 2**31])
@pytest.mark.plays("cosmos", "create_collection")
async def test_a_default_time_to_live_is_positive_or_never(make_container: Any, default_ttl: int) -> None:
    # learn.microsoft.com/azure/cosmos-db/time-to-live, on a container: none, -1, or a nonzero positive number.
    with pytest.raises(HTTP) as error:
        await make_container(default_ttl=default_ttl)
    assert status_of(error)[0] == 400


@pytest.mark.plays("cosmos", "create_item delete_item query read_item")
async def test_charges_rise_with_size(container: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/request-units: 1 RU to read 1 KB, about 10 RU for 100 KB.
    await container.create_item({"id": "small", "pk": "p"})
    await container.create_item({"id": "large", "pk": "p", "text": "x" * 100_000})
    charges: list[float] = []

    def note(response: Any) -> None:
        charges.append(float(response.http_response.headers["x-ms-request-charge"]))

    for name in ("small", "large"):
        await container.read_item(name, "p", raw_response_hook=note)
    assert charges[0] == 1
    assert 9 < charges[1] < 11
    for name in ("small", "large"):
        text = "SELECT * FROM c WHERE c.id = @id"
        query = container.query_items(
            text, parameters=[{"name": "@id", "value": name}], partition_key="p", raw_response_hook=note
        )
        [item async for item in query]
    for name in ("small", "large"):
        await container.delete_item(name, "p", raw_response_hook=note)
    assert charges[0] < charges[2] < charges[3]
    assert charges[0] < charges[4] < charges[5]


@pytest.mark.plays("cosmos", "create_item replace_item upsert_item")
async def test_unique_keys_hold_in_a_logical_partition(make_container: Any) -> None:
    # learn.microsoft.com/azure/cosmos-db/unique-keys
    container = await make_container(unique_key_policy={"uniqueKeys": [{"paths": ["/mail", "/deep/n"]}]})
    await container.create_item({"id": "a", "pk": "p", "mail": "x", "deep": {"n": 1}})
    await container.create_item({"id": "b", "pk": "p", "mail": "x", "deep": {"n": 2}})
    await container.create_item({"id": "c", "pk": "q", "mail": "x", "deep": {"n": 1}})
    await container.replace_item("a", {"id": "a", "pk": "p", "mail": "x", "deep": {"n": 1}, "more": 1})
    for refused in (
        container.create_item({"id": "d", "pk": "p", "mail": "x", "deep": {"n": 1}}),
        container.upsert_item({"id": "d", "pk": "p", "mail": "x", "deep": {"n": 1}}),
        container.replace_item("b", {"id": "b", "pk": "p", "mail": "x", "deep": {"n": 1}}),
    ):
        with pytest.raises(exceptions.CosmosResourceExistsError) as error:
            await refused
        assert "Unique index constraint violation" in error.value.message
    await container.create_item({"id": "none", "pk": "p"})
    with pytest.raises(exceptions.CosmosResourceExistsError):
        await container.create_item({"id": "none2", "pk": "p"})


@pytest.mark.standin
@pytest.mark.plays("cosmos", "create_item query read_item")
async def test_time_to_live(make_container: Any, cloud: Any) -> None:
    # learn.microsoft.com/azure/cosmos-db/time-to-live: the container's default, the item's own, -1 for never.
    container = await make_container(default_ttl=100)
    await container.create_item({"id": "default", "pk": "p"})
    await container.create_item({"id": "short", "pk": "p", "ttl": 10})
    await container.create_item({"id": "never", "pk": "p", "ttl": -1})
    plain = await make_container()
    await plain.create_item({"id": "ignored", "pk": "p", "ttl": 10})

    async def left(at: float) -> list[str]:
        with cloud.later(at):
            items = container.query_items("SELECT * FROM c", partition_key="p")
            return [item["id"] async for item in items]

    assert await left(0) == ["default", "short", "never"]
    assert await left(11) == ["default", "never"]
    assert await left(101) == ["never"]
    with cloud.later(101):
        with pytest.raises(exceptions.CosmosResourceNotFoundError):
            await container.read_item("short", "p")
        await container.create_item({"id": "short", "pk": "p"})
        await plain.read_item("ignored", "p")
    with pytest.raises(HTTP) as error:
        await container.create_item({"id": "bad", "pk": "p", "ttl": 0})
    assert status_of(error)[0] == 400


@pytest.mark.plays("cosmos", "create_item patch_item")
async def test_patch(container: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/partial-document-update
    await container.create_item({"id": "a", "pk": "p", "n": 1, "list": [1, 3], "deep": {"x": "y"}, "old": 1})
    operations: list[dict[str, Any]] = [
        {"op": "add", "path": "/list/1", "value": 2},
        {"op": "add", "path": "/list/-", "value": 4},
        {"op": "set", "path": "/deep/z", "value": None},
        {"op": "replace", "path": "/deep/x", "value": "new"},
        {"op": "remove", "path": "/old"},
        {"op": "incr", "path": "/n", "value": 5},
        {"op": "incr", "path": "/fresh", "value": 2},
    ]
    patched = await container.patch_item("a", "p", operations)
    shown = {name: value for name, value in patched.items() if not name.startswith("_")}
    assert shown == {
        "id": "a", "pk": "p", "n": 6, "list": [1, 2, 3, 4], "deep": {"x": "new", "z": None}, "fresh": 2,
    }  # fmt: skip


@pytest.mark.plays("cosmos", "create_item patch_item read_item")
async def test_a_patch_is_conditional_and_atomic(container: ContainerProxy) -> None:
    # learn.microsoft.com/azure/cosmos-db/partial-document-update: condition, ten operations, no system properties.
    await container.create_item({"id": "a", "pk": "p", "n": 1})
    increment = {"op": "incr", "path": "/n", "value": 1}
    await container.patch_item("a", "p", [increment], filter_predicate="from c where c.n = 1")
    with pytest.raises(exceptions.CosmosAccessConditionFailedError):
        await container.patch_item("a", "p", [increment], filter_predicate="from c where c.n = 1")
    for operations in (
        [increment, {"op": "replace", "path": "/missing", "value": 1}],
        [increment, {"op": "set", "path": "/id", "value": "b"}],
        [increment, {"op": "set", "path": "/pk", "value": "q"}],
        [increment, {"op": "set", "path": "/_ts", "value": 1}],
        [increment] * 11,
    ):
        with pytest.raises(HTTP) as error:
            await container.patch_item("a", "p", operations)
        assert status_of(error)[0] == 400
    assert (await container.read_item("a", "p"))["n"] == 2
    with pytest.raises(exceptions.CosmosResourceNotFoundError):
        await container.patch_item("b", "p", [increment])


@pytest.mark.standin
@pytest.mark.not_played("If-None-Match on items, reads within a batch, the patch operation move")
async def test_what_would_be_done_without_its_condition_is_not_done(container: ContainerProxy) -> None:
    created = await container.create_item({"id": "a", "pk": "p", "n": 1})
    body = {"id": "a", "pk": "p", "n": 2}
    modified: dict[str, Any] = {"etag": created["_etag"], "match_condition": MatchConditions.IfModified}
    for call in (
        container.read_item("a", "p", **modified),
        container.upsert_item(body, match_condition=MatchConditions.IfMissing),
        container.replace_item("a", body, **modified),
        container.execute_item_batch([("upsert", (body,), {"if_none_match_etag": "*"})], "p"),
        container.execute_item_batch([("read", ("a",))], "p"),
        container.patch_item("a", "p", [{"op": "move", "from": "/n", "path": "/m"}]),
    ):
        with pytest.raises(HTTP) as error:
            await call
        assert status_of(error)[0] == 501
    assert await container.read_item("a", "p") == created


@pytest.mark.standin
@pytest.mark.plays("cosmos", "create_item")
async def test_throughput_is_limited_when_set(container: ContainerProxy, cloud: Any) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/troubleshoot-request-rate-too-large: 429, 3200, x-ms-retry-after-ms.
    cloud.set(cosmos_throughput=400)
    refusals: list[Any] = []

    def note(response: Any) -> None:
        if response.http_response.status_code == 429:
            refusals.append(response.http_response.headers)

    await container.create_item({"id": "large", "pk": "p", "text": "x" * 1_000_000}, raw_response_hook=note)
    await container.create_item({"id": "small", "pk": "p"}, raw_response_hook=note)
    assert refusals, "the first write used more than a second's throughput, so the second had to wait"
    assert int(refusals[0]["x-ms-retry-after-ms"]) > 0
    assert refusals[0]["x-ms-substatus"] == "3200"
    cloud.set()


@pytest.mark.plays("cosmos", "read_collection read_database")
async def test_missing_containers_and_databases(client: CosmosClient, container: ContainerProxy) -> None:
    # SubStatusCodes.OWNER_RESOURCE_NOT_FOUND for what lies below a missing resource.
    for missing in (
        client.get_database_client("none").read(),
        client.get_database_client("suite").get_container_client("none").read(),
    ):
        with pytest.raises(exceptions.CosmosResourceNotFoundError) as error:
            await missing
    with pytest.raises(exceptions.CosmosResourceNotFoundError) as error:
        await client.get_database_client("none").get_container_client("none").read()
    assert container.id
    assert error.value.status_code == 404


@pytest.mark.plays(
    "cosmos", "batch create_item delete_item patch_item query query_plan read_item replace_item upsert_item"
)
async def test_the_synchronous_sdk(account: Any, container: ContainerProxy) -> None:
    # azure-cosmos container.py, the twin of aio/_container.py.
    def work(transport: RequestsTransport) -> list[Any]:
        with SyncClient(account.endpoint, account.keys["secondary"], transport=transport) as client:
            items = client.get_database_client("suite").get_container_client(container.id)
            for number in range(5):
                items.create_item({"id": f"{number}", "pk": f"p{number}", "n": number})
            items.upsert_item({"id": "0", "pk": "p0", "n": 9})
            items.execute_item_batch([("create", ({"id": "x", "pk": "p0"},)), ("delete", ("x",))], "p0")
            assert items.read_item("0", "p0")["n"] == 9
            with pytest.raises(exceptions.CosmosResourceNotFoundError):
                items.read_item("x", "p0")
            with pytest.raises(exceptions.CosmosResourceExistsError):
                items.create_item({"id": "0", "pk": "p0"})
            stale = {"etag": '"stale"', "match_condition": MatchConditions.IfNotModified}
            with pytest.raises(exceptions.CosmosAccessConditionFailedError):
                items.replace_item("0", {"id": "0", "pk": "p0"}, **stale)
            increment = [{"op": "incr", "path": "/n", "value": 1}]
            items.patch_item("1", "p1", increment, filter_predicate="from c where c.n = 1")
            with pytest.raises(exceptions.CosmosAccessConditionFailedError):
                items.patch_item("1", "p1", increment, filter_predicate="from c where c.n = 1")
            items.delete_item("4", "p4")
            text = "SELECT * FROM c ORDER BY c.n DESC"
            ordered = items.query_items(text, enable_cross_partition_query=True)
            one = items.query_items("SELECT * FROM c WHERE c.n < 3", partition_key="p1")
            return [[item["n"] for item in found] for found in (ordered, one)]

    def work_and_hang_up() -> list[Any]:
        # The client's thread that reads the account outlives the client and would open connections after its end, and
        # a refused query keeps its connection until the error's reference cycle is collected.
        with requests.Session() as session:
            found = work(RequestsTransport(session=session, session_owner=False))
            for thread in threading.enumerate():
                if thread.name == "cosmos-endpoint-refresh":
                    thread.join(10)
            gc.collect()
            return found

    assert await asyncio.to_thread(work_and_hang_up) == [[9, 3, 2, 2], [2]]


@pytest.mark.standin
@pytest.mark.plays("cosmos", "list_pk_ranges patch_item read_account read_collection read_item replace_item")
async def test_requests_of_a_cold_and_a_warm_client(
    account: Any, container: ContainerProxy, options: dict[str, Any], calls: Callable[[], list[str]]
) -> None:
    # azure-cosmos aio/_global_endpoint_manager_async.py, _session.py, _routing/: what the application's budget
    # of requests rests on.
    calls()
    client = CosmosClient(account.endpoint, account.keys["primary"], **options)
    assert calls() == []
    async with client:
        warm = client.get_database_client("suite").get_container_client(container.id)
        await warm.create_item({"id": "a", "pk": "p"})
        assert sorted(calls()) == ["create_item", "read_account", "read_account", "read_collection"]
        await warm.read_item("a", "p")
        assert calls()[-1] == "read_item"  # before it the ranges of partition keys, once for each process and endpoint
        for work, expected in [
            (lambda: warm.read_item("a", "p"), ["read_item"]),
            (lambda: warm.create_item({"id": uuid.uuid4().hex, "pk": "q"}), ["create_item"]),
            (lambda: warm.upsert_item({"id": "a", "pk": "p"}), ["upsert_item"]),
            (lambda: warm.replace_item("a", {"id": "a", "pk": "p"}), ["replace_item"]),
            (lambda: warm.patch_item("a", "p", [{"op": "set", "path": "/n", "value": 1}]), ["patch_item"]),
            (lambda: warm.execute_item_batch([("upsert", ({"id": "a", "pk": "p"},))], "p"), ["batch"]),
            (lambda: warm.delete_item("a", "p"), ["delete_item"]),
        ]:
            await work()
            assert calls() == expected
