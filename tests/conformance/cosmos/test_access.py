"""Who is let in to Cosmos DB's data plane, and how the others are refused, with the official SDK."""

import uuid
from typing import Any

import aiohttp
import pytest
from azure.cosmos import PartitionKey, exceptions
from azure.cosmos.aio import ContainerProxy, CosmosClient

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
    name = f"other{uuid.uuid4().hex[:12]}"
    other = cloud.call(lambda: cloud.azure.accounts.create(name, f"/suite/{name}", "d"))
    status, substatus, message = await refusal(account.endpoint, other.keys["primary"], options)
    assert (status, substatus) == (401, None)
    assert message.startswith("(Unauthorized) The input authorization token can't serve the request.")


@pytest.mark.plays("cosmos", "create_item read_item")
async def test_a_regenerated_key_is_refused_from_then_on(cloud: Any, options: dict[str, Any]) -> None:
    name = f"rotated{uuid.uuid4().hex[:12]}"
    made = cloud.call(lambda: cloud.azure.accounts.create(name, f"/suite/{name}", "d"))
    endpoint = f"https://{name}.documents.azure.com:443/"
    old = made.keys["primary"]
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
    await container.create_item({"id": "a", "pk": "p", "n": 1})
    async with CosmosClient(account.endpoint, account.keys[kind], **options) as client:
        items = client.get_database_client("suite").get_container_client(container.id)
        await items.read_item("a", "p")
        assert [item async for item in items.query_items("SELECT VALUE c.n FROM c ORDER BY c.n")] == [1]
        for write in (
            items.create_item({"id": "b", "pk": "p"}),
            items.upsert_item({"id": "a", "pk": "p"}),
            items.replace_item("a", {"id": "a", "pk": "p"}),
            items.patch_item("a", "p", [{"op": "remove", "path": "/n"}]),
            items.delete_item("a", "p"),
            items.execute_item_batch([("read", ("a",))], "p"),
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
    async with http.get(account.endpoint, headers={"x-ms-version": "2020-07-15"}) as answer:
        assert answer.status == 401
        body = await answer.json()
    assert body["code"] == "Unauthorized"
    assert body["message"].startswith("Required Header authorization is missing.")


@pytest.mark.standin
async def test_what_is_not_implemented_says_so(account: Any, http: aiohttp.ClientSession) -> None:
    async with http.get(account.endpoint + "offers") as answer:
        assert (answer.status, (await answer.json())["code"]) == (501, "NotImplemented")


@pytest.mark.plays("cosmos", "create_database")
async def test_keys_may_be_forbidden_to_change_containers(cloud: Any, options: dict[str, Any]) -> None:
    # learn.microsoft.com/azure/cosmos-db/role-based-access-control, disableKeyBasedMetadataWriteAccess.
    name = f"fixed{uuid.uuid4().hex[:12]}"
    made = cloud.call(
        lambda: cloud.azure.accounts.create(name, f"/suite/{name}", "d", key_metadata_writes_disabled=True)
    )
    async with CosmosClient(f"https://{name}.documents.azure.com:443/", made.keys["primary"], **options) as client:
        with pytest.raises(HTTP) as error:
            await client.create_database("d")
    assert error.value.status_code == 403


class Roles:
    """An account without keys, for tokens."""

    def __init__(self, cloud: Any, directory_id: str) -> None:
        self.name = f"roles{uuid.uuid4().hex[:12]}"
        self.endpoint = f"https://{self.name}.documents.azure.com:443/"
        self._cloud = cloud
        self.account = cloud.call(lambda: self._create(directory_id))

    def _create(self, directory_id: str) -> Any:
        azure = self._cloud.azure
        made = azure.accounts.create(self.name, f"/suite/{self.name}", directory_id, local_auth_disabled=True)
        azure.cosmos.create_database(self.name, "d")
        definition = {"id": "c", "partitionKey": {"paths": ["/pk"], "kind": "Hash", "version": 2}}
        azure.cosmos.create_container(self.name, "d", definition)
        return made

    def assign(self, principal_id: str, role: Any) -> None:
        self._cloud.call(lambda: self._cloud.azure.accounts.assign_data_role(self.name, principal_id, role))


@pytest.mark.plays("cosmos", "read_account")
async def test_keys_do_not_open_an_account_without_local_authentication(cloud: Any, options: dict[str, Any]) -> None:
    roles = Roles(cloud, cloud.publisher_directory_id)
    status, substatus, message = await refusal(roles.endpoint, roles.account.keys["primary"], options)
    assert (status, substatus) == (401, 5202)
    assert message.startswith("(Unauthorized) Local Authorization is disabled. Use an AAD token")


@pytest.mark.plays("cosmos", "batch create_database create_item delete_database delete_item query query_plan")
async def test_a_contributor_works_on_items_only(cloud: Any, options: dict[str, Any], data_identity: Any) -> None:
    # learn.microsoft.com/azure/cosmos-db/troubleshoot-forbidden: 5300 for what is not a data operation.
    roles = Roles(cloud, cloud.publisher_directory_id)
    roles.assign(cloud.data_identity.principal_id, "contributor")
    async with CosmosClient(roles.endpoint, data_identity, **options) as client:
        items = client.get_database_client("d").get_container_client("c")
        await items.create_item({"id": "a", "pk": "p", "n": 1})
        await items.execute_item_batch([("upsert", ({"id": "a", "pk": "p", "n": 2},))], "p")
        assert [item async for item in items.query_items("SELECT VALUE c.n FROM c ORDER BY c.n")] == [2]
        await items.delete_item("a", "p")
        for managed in (
            client.create_database("x"),
            client.get_database_client("d").create_container("x", PartitionKey("/pk")),
            client.delete_database("d"),
        ):
            with pytest.raises(HTTP) as error:
                await managed
            assert (error.value.status_code, error.value.sub_status) == (403, 5300)
            assert "cannot be authorized by AAD token in data plane" in error.value.message


@pytest.mark.plays("cosmos", "create_item query")
async def test_a_reader_reads_only(cloud: Any, options: dict[str, Any], data_identity: Any) -> None:
    roles = Roles(cloud, cloud.publisher_directory_id)
    roles.assign(cloud.data_identity.principal_id, "reader")
    async with CosmosClient(roles.endpoint, data_identity, **options) as client:
        items = client.get_database_client("d").get_container_client("c")
        assert [item async for item in items.query_items("SELECT * FROM c")] == []
        with pytest.raises(HTTP) as error:
            await items.create_item({"id": "a", "pk": "p"})
    assert (error.value.status_code, error.value.sub_status) == (403, 5301)
    assert "does not have required RBAC permissions to perform action" in error.value.message
    assert "containers/items/create" in error.value.message


@pytest.mark.plays("cosmos", "read_account")
async def test_without_a_role_nothing_is_shown(cloud: Any, options: dict[str, Any], data_identity: Any) -> None:
    roles = Roles(cloud, cloud.publisher_directory_id)
    roles.assign(cloud.control_identity.principal_id, "contributor")
    status, substatus, message = await refusal(roles.endpoint, data_identity, options)
    assert (status, substatus) == (403, 5301)
    assert "databaseAccounts/readMetadata" in message


@pytest.mark.plays("cosmos", "read_account")
async def test_a_role_is_worth_nothing_to_a_foreign_directory(
    cloud: Any, options: dict[str, Any], data_identity: Any
) -> None:
    roles = Roles(cloud, str(uuid.uuid4()))
    roles.assign(cloud.data_identity.principal_id, "contributor")
    status, _, message = await refusal(roles.endpoint, data_identity, options)
    assert status == 401
    assert "is not trusted" in message


@pytest.mark.plays("cosmos", "read_account")
async def test_a_token_for_another_resource_is_refused(
    cloud: Any, http: aiohttp.ClientSession, data_identity: Any
) -> None:
    roles = Roles(cloud, cloud.publisher_directory_id)
    roles.assign(cloud.data_identity.principal_id, "contributor")
    statuses = []
    for scope in ("https://management.azure.com/.default", "https://cosmos.azure.com/.default"):
        token = await data_identity.get_token(scope)
        headers = {"authorization": f"type=aad&ver=1.0&sig={token.token}"}
        async with http.get(roles.endpoint, headers=headers) as answer:
            statuses.append(answer.status)
    assert statuses == [401, 200]
