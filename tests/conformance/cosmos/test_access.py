"""Who is let in to Cosmos DB's data plane, and how the others are refused, with the official SDK."""

import uuid
from typing import Any

import aiohttp
import pytest
from azure.core.credentials_async import AsyncTokenCredential
from azure.cosmos import PartitionKey, exceptions
from azure.cosmos.aio import ContainerProxy, CosmosClient
from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

HTTP = exceptions.CosmosHttpResponseError


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    # azure-cosmos _health_check_retry_policy.py: a refused read of the account is repeated three times after 500 ms.
    monkeypatch.setenv("AZURE_COSMOS_HEALTH_CHECK_RETRY_AFTER_MS", "1")


async def refusal(endpoint: str, credential: Any, options: dict[str, Any]) -> tuple[int, int | None, str]:
    """How a client is refused that opens the account: status, sub-status, message."""
    client = CosmosClient(endpoint, credential, **options)
    try:
        with pytest.raises(HTTP) as error:
            await client.__aenter__()
        return error.value.status_code, error.value.sub_status, error.value.message
    finally:
        await client.close()


@pytest.mark.plays("cosmos", "read_account")
async def test_another_account_s_key_is_refused(account: Any, cloud: Any, options: dict[str, Any]) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/troubleshoot-unauthorized
    status, substatus, message = await refusal(account.endpoint, cloud.foreign_key(), options)
    assert (status, substatus) == (401, None)
    assert message.startswith("(Unauthorized) The input authorization token can't serve the request.")


@pytest.mark.standin
@pytest.mark.plays("cosmos", "create_item read_item")
async def test_a_regenerated_key_is_refused_from_then_on(cloud: Any, options: dict[str, Any]) -> None:
    # learn.microsoft.com/azure/cosmos-db/how-to-rotate-keys: the key that is regenerated is refused, the others serve.
    made = cloud.cosmos_account()
    endpoint, old = made.endpoint, made.keys["primary"]
    name = endpoint.removeprefix("https://").partition(".")[0]
    async with CosmosClient(endpoint, old, **options) as client:
        items = await (await client.create_database("d")).create_container("c", PartitionKey("/pk"))
        await items.create_item({"id": "a", "pk": "p"})
        new = cloud.call(lambda: cloud.azure.accounts.regenerate(name, "primary"))
        with pytest.raises(HTTP) as error:
            await items.read_item("a", "p")
        assert error.value.status_code == 401
    async with CosmosClient(endpoint, new, **options) as client:
        await client.get_database_client("d").get_container_client("c").read_item("a", "p")
    assert (await refusal(endpoint, old, options))[0] == 401


@pytest.mark.parametrize("kind", ["primaryReadonly", "secondaryReadonly"])
@pytest.mark.plays(
    "cosmos", "batch create_item delete_item patch_item query query_plan read_item replace_item upsert_item"
)
async def test_a_read_only_key_reads_only(
    account: Any, container: ContainerProxy, options: dict[str, Any], kind: str
) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/troubleshoot-unauthorized: 401 for write operations only.
    created = await container.create_item({"id": "a", "pk": "p", "n": 1})
    async with CosmosClient(account.endpoint, account.keys[kind], **options) as client:
        items = client.get_database_client("suite").get_container_client(container.id)
        await items.read_item("a", "p")
        assert [item async for item in items.query_items("SELECT * FROM c ORDER BY c.n")] == [created]
        for write in (
            items.create_item({"id": "b", "pk": "p"}),
            items.upsert_item({"id": "a", "pk": "p"}),
            items.replace_item("a", {"id": "a", "pk": "p"}),
            items.patch_item("a", "p", [{"op": "remove", "path": "/n"}]),
            items.delete_item("a", "p"),
            items.execute_item_batch([("delete", ("a",))], "p"),
            client.create_database("other"),
        ):
            with pytest.raises(HTTP) as error:
                await write
            assert error.value.status_code == 401
    assert (await container.read_item("a", "p"))["n"] == 1


@pytest.mark.standin
async def test_a_signature_expires_after_fifteen_minutes(
    account: Any, cloud: Any, options: dict[str, Any], container: ContainerProxy
) -> None:
    # learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb: 403, the authorization token expired.
    assert container.id
    with cloud.later(901):
        status, _, message = await refusal(account.endpoint, account.keys["primary"], options)
    assert status == 403
    assert message.startswith("(Forbidden) The authorization token is not valid at the current time.")


@pytest.mark.plays("cosmos", "read_account")
async def test_without_authorization(account: Any, http: aiohttp.ClientSession) -> None:
    # learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources: the header is required.
    async with http.get(account.endpoint, headers={"x-ms-version": "2020-07-15"}) as answer:
        assert answer.status == 401
        body = await answer.json()
    assert body["code"] == "Unauthorized"
    assert body["message"].startswith("Required Header authorization is missing.")


@pytest.mark.standin
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "offers"),
        ("GET", "dbs"),
        ("DELETE", "dbs/suite"),
        ("GET", "dbs/suite/colls"),
        ("DELETE", "dbs/suite/colls/any"),
        ("GET", "dbs/suite/colls/any/docs"),
        ("POST", "dbs/suite/colls/any/sprocs"),
    ],
)
@pytest.mark.not_played(
    "lists and deletion of databases and containers, throughput offers, all items or changes without a query, stored "
    "procedures, triggers, functions, users and permissions, hierarchical partition keys"
)
async def test_what_is_not_implemented_says_so(
    account: Any, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    async with http.request(method, account.endpoint + path) as answer:
        assert (answer.status, (await answer.json())["code"]) == (501, "NotImplemented")


@pytest.mark.plays("cosmos", "create_database")
async def test_keys_may_be_forbidden_to_change_containers(
    tenant: Any, daemon: AsyncTokenCredential, options: dict[str, Any]
) -> None:
    # learn.microsoft.com/azure/cosmos-db/role-based-access-control, disableKeyBasedMetadataWriteAccess, which the
    # managed application's package sets.
    async with CosmosDBManagementClient(daemon, tenant.subscription_id, **options) as manager:
        keys = await manager.database_accounts.list_keys(tenant.resource_group, tenant.cosmos_account)
    endpoint = f"https://{tenant.cosmos_account}.documents.azure.com:443/"
    async with CosmosClient(endpoint, keys.primary_master_key, **options) as client:
        with pytest.raises(HTTP) as error:
            await client.create_database("d")
    assert error.value.status_code == 403


@pytest.mark.plays("cosmos", "read_account")
async def test_keys_do_not_open_an_account_without_local_authentication(
    cloud: Any, registry: Any, options: dict[str, Any]
) -> None:
    # learn.microsoft.com/azure/cosmos-db/nosql/how-to-connect-role-based-access-control, disableLocalAuth;
    # SubStatusCodes has no name for 5202, the service's answers quoted in azure-cosmos-dotnet-v3 issues do.
    status, substatus, message = await refusal(registry.endpoint, cloud.foreign_key(), options)
    assert (status, substatus) == (401, 5202)
    assert message.startswith("(Unauthorized) Local Authorization is disabled. Use an AAD token")


@pytest.mark.plays("cosmos", "batch create_collection create_database create_item delete_item query query_plan")
async def test_a_contributor_works_on_items_only(registry: Any, options: dict[str, Any], data_identity: Any) -> None:
    # learn.microsoft.com/azure/cosmos-db/troubleshoot-forbidden: 5300 for what is not a data operation.
    async with CosmosClient(registry.endpoint, data_identity, **options) as client:
        database = client.get_database_client(registry.database)
        items = database.get_container_client(registry.container)
        pk = uuid.uuid4().hex
        await items.create_item({"id": "a", "pk": pk, "n": 1})
        await items.execute_item_batch([("upsert", ({"id": "a", "pk": pk, "n": 2},))], pk)
        text, parameters = "SELECT * FROM c WHERE c.pk = @pk ORDER BY c.n", [{"name": "@pk", "value": pk}]
        assert [item["n"] async for item in items.query_items(text, parameters=parameters)] == [2]
        await items.delete_item("a", pk)
        for managed in (client.create_database("x"), database.create_container("x", PartitionKey("/pk"))):
            with pytest.raises(HTTP) as error:
                await managed
            assert (error.value.status_code, error.value.sub_status) == (403, 5300)
            assert "cannot be authorized by AAD token in data plane" in error.value.message


@pytest.mark.plays("cosmos", "read_account")
async def test_without_a_role_nothing_is_shown(registry: Any, options: dict[str, Any], control_identity: Any) -> None:
    # learn.microsoft.com/azure/cosmos-db/troubleshoot-forbidden: 5301, the principal lacks the action.
    status, substatus, message = await refusal(registry.endpoint, control_identity, options)
    assert (status, substatus) == (403, 5301)
    assert "databaseAccounts/readMetadata" in message


@pytest.mark.standin
@pytest.mark.plays("cosmos", "read_account")
@pytest.mark.inferred("a data-plane role that names a principal of another directory is worth nothing")
async def test_a_role_is_worth_nothing_to_a_foreign_directory(
    cloud: Any, options: dict[str, Any], data_identity: Any
) -> None:
    status, _, message = await refusal(cloud.registry(str(uuid.uuid4())).endpoint, data_identity, options)
    assert status == 401
    assert "is not trusted" in message


@pytest.mark.plays("cosmos", "read_account")
async def test_a_token_for_another_resource_is_refused(
    registry: Any, http: aiohttp.ClientSession, data_identity: Any
) -> None:
    # azure-cosmos aio/_auth_policy_async.py: the scope is the account's, or https://cosmos.azure.com/.default.
    statuses = []
    for scope in ("https://management.azure.com/.default", "https://cosmos.azure.com/.default"):
        token = await data_identity.get_token(scope)
        headers = {"authorization": f"type=aad&ver=1.0&sig={token.token}", "x-ms-version": "2020-07-15"}
        async with http.get(registry.endpoint, headers=headers) as answer:
            statuses.append(answer.status)
    assert statuses == [401, 200]
