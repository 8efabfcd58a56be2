"""The state: whatever was acknowledged is there after a kill at any moment."""

import asyncio
import json
import random
import ssl
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.local.standin import authorization, publisher
from infra.local.standin.authorization import RoleAssignment
from infra.local.standin.stand_in import READY_FILE, StandIn

ROUNDS = 4
WRITERS = 3  # of each kind
ARM = "https://management.azure.com"
ITEMS = f"{publisher.REGISTRY_ENDPOINT}dbs/bulkhead/colls/anchors/docs"
pytestmark = pytest.mark.standin


@dataclass(frozen=True)
class Prepared:
    """What is there before the first start."""

    account: str  # Cosmos DB account whose keys are regenerated
    account_id: str
    client_id: str  # of an application that may assign roles on the account, and list its keys
    secret: str
    principal_id: str  # of that application


def prepare(state: Path) -> Prepared:
    stand_in = StandIn(state)
    azure, tenant = stand_in.azure, stand_in.customers.deploy("acme")
    application = azure.directories.create_application(publisher.DIRECTORY_ID, "administrator")
    _, secret = azure.directories.add_secret(application.client_id)
    azure.directories.add_member(publisher.DAEMONS_GROUP_ID, application.principal_id)  # out of the deny assignment
    for role_id in (authorization.USER_ACCESS_ADMINISTRATOR, authorization.DOCUMENTDB_ACCOUNT_CONTRIBUTOR):
        azure.authorization.assign(
            RoleAssignment(str(uuid.uuid4()), tenant.account_id, role_id, application.principal_id)
        )
    stand_in.world.storage.close()
    return Prepared(tenant.cosmos_account, tenant.account_id, application.client_id, secret, application.principal_id)


class Client:
    """Plain requests, without an SDK's own repetitions, and tokens for them."""

    def __init__(self, session: aiohttp.ClientSession, endpoints: dict[str, Any], prepared: Prepared) -> None:
        self._session = session
        self._endpoints = endpoints
        self._prepared = prepared
        self._proxy = endpoints["proxy"]

    async def sign_in(self) -> None:
        prepared = self._prepared
        form = {
            "grant_type": "client_credentials",
            "client_id": prepared.client_id,
            "client_secret": prepared.secret,
            "scope": f"{ARM}/.default",
        }
        login = f"https://login.microsoftonline.com/{publisher.DIRECTORY_ID}/oauth2/v2.0/token"
        async with self._session.post(login, data=form, proxy=self._proxy) as answer:
            self._arm = f"Bearer {(await answer.json())['access_token']}"
        vault = await self._identity_token(publisher.CONTROL_IDENTITY.client_id, "https://vault.azure.net")
        self._vault = f"Bearer {vault}"
        cosmos = await self._identity_token(publisher.DATA_IDENTITY.client_id, "https://cosmos.azure.com")
        self._cosmos = f"type=aad&ver=1.0&sig={cosmos}"

    async def _identity_token(self, client_id: str, resource: str) -> str:
        env = self._endpoints["env"]
        query = {"api-version": "2019-08-01", "resource": resource, "client_id": client_id}
        headers = {"X-IDENTITY-HEADER": env["IDENTITY_HEADER"]}
        async with self._session.get(env["IDENTITY_ENDPOINT"], params=query, headers=headers) as answer:
            return str((await answer.json())["access_token"])

    async def vault(self, method: str, name: str, body: Any = None) -> Any:
        url = f"{publisher.VAULT.url}/secrets/{name}?api-version=2025-07-01"
        return await self._send(method, url, {"Authorization": self._vault}, body)

    async def arm(self, method: str, path: str, body: Any = None, version: str = "2022-04-01") -> Any:
        url = f"{ARM}{path}?api-version={version}"
        return await self._send(method, url, {"Authorization": self._arm}, body)

    async def item(self, method: str, item_id: str, body: Any = None) -> Any:
        url = ITEMS if method == "POST" else f"{ITEMS}/{item_id}"
        headers = {"authorization": self._cosmos, "x-ms-documentdb-partitionkey": json.dumps(["t"])}
        return await self._send(method, url, headers, body)

    async def regenerate(self) -> None:
        url = f"{self._endpoints['stand_in']}/cosmos/{self._prepared.account}/regenerate"
        async with self._session.post(url, json={"key_kind": "secondary"}) as answer:
            answer.raise_for_status()

    async def secondary_key(self) -> str:
        keys = await self.arm("POST", f"{self._prepared.account_id}/listKeys", version="2024-11-15")
        return str(keys["secondaryMasterKey"])

    async def _send(self, method: str, url: str, headers: dict[str, str], body: Any) -> Any:
        async with self._session.request(method, url, headers=headers, json=body, proxy=self._proxy) as answer:
            answer.raise_for_status()
            return await answer.json() if answer.status != 204 else None


@dataclass
class Acknowledged:
    """What the stand-in said it has."""

    items: dict[str, int] = field(default_factory=dict)  # id -> number, which only grows
    gone: list[str] = field(default_factory=list)  # ids of items
    secrets: dict[str, str] = field(default_factory=dict)  # name -> value
    roles: list[str] = field(default_factory=list)  # paths
    replaced_keys: set[str] = field(default_factory=set)

    def counts(self) -> list[int]:
        return [len(self.items), len(self.gone), len(self.secrets), len(self.roles), len(self.replaced_keys)]


@asynccontextmanager
async def launched(state: Path, prepared: Prepared) -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    """The stand-in as a process, and a client of it; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "infra.local.standin", "--state", str(state))
    try:
        async with asyncio.timeout(20):
            while not (state / READY_FILE).exists():
                assert process.returncode is None
                await asyncio.sleep(0.01)
        endpoints = json.loads((state / READY_FILE).read_text())
        context = ssl.create_default_context(cafile=endpoints["ca_bundle"])
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0)) as session:
            client = Client(session, endpoints, prepared)
            await client.sign_in()
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        (state / READY_FILE).unlink(missing_ok=True)


async def until_killed(write: Callable[[], Awaitable[None]]) -> None:
    """Write on and on; the kill ends it."""
    try:
        while True:
            await write()
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientHttpProxyError):
        return


async def write_all(client: Client, prepared: Prepared, acknowledged: Acknowledged) -> None:
    async def item() -> None:
        item_id = uuid.uuid4().hex
        for number, method in enumerate(("POST", "PUT")):
            await client.item(method, item_id, {"id": item_id, "tenant_id": "t", "number": number})
            acknowledged.items[item_id] = number
        if (len(acknowledged.items) + len(acknowledged.gone)) % 2:  # every other one
            del acknowledged.items[item_id]
            await client.item("DELETE", item_id)
            acknowledged.gone.append(item_id)

    async def secret() -> None:
        name, value = f"s-{uuid.uuid4().hex}", uuid.uuid4().hex
        await client.vault("PUT", name, {"value": value})
        acknowledged.secrets[name] = value

    async def role() -> None:
        scope = f"{prepared.account_id}/sqlDatabases/{uuid.uuid4()}"
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        definition = f"/providers/Microsoft.Authorization/roleDefinitions/{authorization.READER}"
        body = {"properties": {"roleDefinitionId": definition, "principalId": prepared.principal_id}}
        await client.arm("PUT", path, body)
        acknowledged.roles.append(path)

    async def regeneration() -> None:
        before = await client.secondary_key()
        await client.regenerate()
        acknowledged.replaced_keys.add(before)

    writers = [item, secret, role] * WRITERS + [regeneration]
    await asyncio.gather(*(until_killed(write) for write in writers))


async def test_every_acknowledged_write_survives_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    prepared, acknowledged = prepare(tmp_path), Acknowledged()
    for _ in range(ROUNDS):
        async with launched(tmp_path, prepared) as (process, client):
            before = acknowledged.counts()
            writing = asyncio.create_task(write_all(client, prepared, acknowledged))
            async with asyncio.timeout(20):
                while any(now == then for now, then in zip(acknowledged.counts(), before, strict=True)):  # noqa: ASYNC110 - the writers only count
                    await asyncio.sleep(random.uniform(0, 0.1))  # noqa: S311 - any moment after that will do
            process.kill()
            await writing
    async with launched(tmp_path, prepared) as (_, client):
        for item_id, number in acknowledged.items.items():
            assert (await client.item("GET", item_id))["number"] >= number
        for item_id in acknowledged.gone:
            with pytest.raises(aiohttp.ClientResponseError, match="404"):
                await client.item("GET", item_id)
        for name, value in acknowledged.secrets.items():
            assert (await client.vault("GET", name))["value"] == value
        for path in acknowledged.roles:
            assert (await client.arm("GET", path))["properties"]["principalId"] == prepared.principal_id
        assert await client.secondary_key() not in acknowledged.replaced_keys
    assert min(acknowledged.counts()) >= ROUNDS


def test_an_older_state_gets_the_containers_that_came_later(tmp_path: Path) -> None:
    old = StandIn(tmp_path)
    old.azure.cosmos.drop_account(publisher.REGISTRY)
    old.azure.cosmos.create_database(publisher.REGISTRY, "bulkhead")
    old.world.storage.close()

    new = StandIn(tmp_path)

    assert new.azure.cosmos._store.databases(publisher.REGISTRY)["bulkhead"].containers.keys() == {
        "tenants", "anchors", "idempotency",
    }  # fmt: skip
    new.world.storage.close()
