"""What the suites of Cosmos DB's data plane work on: an account, a client with its key, a container for each test."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient, DatabaseProxy

from infra.local.standin.cosmos.accounts import KeyKind

type MakeContainer = Callable[..., Awaitable[ContainerProxy]]


@dataclass(frozen=True)
class CosmosAccount:
    """An account that the suite may fill, with its keys at the beginning."""

    name: str
    keys: dict[KeyKind, str]

    @property
    def endpoint(self) -> str:
        return f"https://{self.name}.documents.azure.com:443/"


@pytest.fixture(scope="module")
def account(cloud: Any) -> CosmosAccount:
    name = f"suite{uuid.uuid4().hex[:12]}"
    made = cloud.call(lambda: cloud.azure.accounts.create(name, f"/suite/{name}", str(uuid.uuid4())))
    return CosmosAccount(name, dict(made.keys))


@pytest.fixture
async def client(account: CosmosAccount, options: dict[str, Any]) -> AsyncIterator[CosmosClient]:
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
def calls(cloud: Any, account: CosmosAccount) -> Callable[[], list[str]]:
    """Gives the operations on the account since it was last called."""
    _, position = cloud.journal(10**9)

    def take() -> list[str]:
        nonlocal position
        entries, position = cloud.journal(position)
        return [entry["operation"] for entry in entries if entry["target"].startswith(account.name)]

    return take
