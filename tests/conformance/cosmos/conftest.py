"""What the suites of Cosmos DB's data plane work on: an account, a client with its key, a container for each test."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient, DatabaseProxy

from tests.conformance.cloud import Cloud, KeyedAccount, KeylessAccount

type MakeContainer = Callable[..., Awaitable[ContainerProxy]]


@pytest.fixture(scope="module")
def account(cloud: Cloud) -> KeyedAccount:
    return cloud.cosmos_account()


@pytest.fixture(scope="module")
def registry(cloud: Cloud) -> KeylessAccount:
    """An account for tokens only: the data plane's identity is a contributor there, the control plane's is nothing."""
    return cloud.registry()


@pytest.fixture
async def client(account: KeyedAccount, options: dict[str, Any]) -> AsyncIterator[CosmosClient]:
    async with CosmosClient(account.endpoint, account.keys["primary"], **options) as client:
        yield client


@pytest.fixture
async def database(client: CosmosClient) -> DatabaseProxy:
    return await client.create_database_if_not_exists("suite")


@pytest.fixture
def make_container(database: DatabaseProxy) -> MakeContainer:
    """Makes a container, by default with the partition key /pk."""

    async def make(**definition: Any) -> ContainerProxy:
        definition.setdefault("partition_key", PartitionKey("/pk"))
        return await database.create_container(f"c{uuid.uuid4().hex}", **definition)

    return make


@pytest.fixture
async def container(make_container: MakeContainer) -> ContainerProxy:
    return await make_container()


@pytest.fixture
def calls(cloud: Any, account: KeyedAccount) -> Callable[[], list[str]]:
    """Gives the operations on the account since it was last called, from the stand-in's journal."""
    _, position = cloud.journal(10**9)
    name = account.endpoint.removeprefix("https://").partition(".")[0]

    def take() -> list[str]:
        nonlocal position
        entries, position = cloud.journal(position)
        return [entry["operation"] for entry in entries if entry["target"].startswith(name)]

    return take
