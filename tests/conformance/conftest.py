"""What every wire suite works on: a cloud, deployed tenants in it, and the options by which SDK clients reach it.

The suites know the cloud only through `Cloud`, `Deployed` and the process's environment; tests marked `standin` use
what Azure itself does not offer (faults, journal, a clock that can be moved).
"""

import asyncio
import json
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientSecretCredential, ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient

from infra.local.standin import publisher
from infra.local.standin.stand_in import StandIn


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "standin: needs what only the stand-in offers; not run against real Azure",
        "plays(service, operations): what the test has the service do, as the journal names it, with spaces between",
        "not_played(text): the test shows that this answers 501",
        "inferred(text): the test expects what no source says",
    ):
        config.addinivalue_line("markers", marker)


@dataclass(frozen=True)
class Deployed:
    """A tenant with its daemon, whose credential is a secret in the publisher's vault."""

    name: str
    directory_id: str
    subscription_id: str
    resource_group: str
    application_id: str
    cosmos_account: str
    client_id: str
    object_id: str
    credential_name: str

    @property
    def account_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.DocumentDB/databaseAccounts/{self.cosmos_account}"
        )


class Cloud:
    """A running stand-in in a thread of its own, so that synchronous clients and any event loop can talk to it."""

    publisher_directory_id = publisher.DIRECTORY_ID
    vault_url = publisher.VAULT.url + "/"
    data_identity = publisher.DATA_IDENTITY
    control_identity = publisher.CONTROL_IDENTITY

    def __init__(self, state: Path) -> None:
        self.state = state
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._shift = 0.0

    def start(self) -> None:
        self._thread.start()
        self.stand_in = StandIn(self.state)
        self.azure = self.stand_in.azure
        self.stand_in.world.now = lambda: time.time() + self._shift
        self.endpoints = self.do(self.stand_in.start())

    def stop(self) -> None:
        self.do(self.stand_in.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, coroutine: Any) -> Any:
        """Run a coroutine in the stand-in's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def call[T](self, act: Callable[[], T]) -> T:
        """Call a function in the stand-in's thread, where its state may be changed."""

        async def run() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    @contextmanager
    def later(self, seconds: float) -> Iterator[None]:
        """Move the stand-in's clock."""
        self._shift = seconds
        try:
            yield
        finally:
            self._shift = 0.0

    def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request to the control API: (status, JSON)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.endpoints.stand_in + path, data, method=method)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def deploy(self, directory_id: str | None = None) -> Deployed:
        """A new tenant with a daemon."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        status, tenant = self.control("POST", "/tenants", {"name": name, "directory_id": directory_id})
        assert status == 201, tenant
        status, daemon = self.control("POST", "/daemons", {"name": name, "credential": "secret"})
        assert status == 201, daemon
        return Deployed(
            **tenant,
            client_id=daemon["client_id"],
            object_id=daemon["object_id"],
            credential_name=daemon["credential_name"],
        )

    def journal(self, since: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The journal's entries from a number on, and the next number."""
        _, answer = self.control("GET", f"/journal?since={since}")
        return answer["entries"], answer["next"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    cloud.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        for name, value in cloud.endpoints.env.items():
            patch.setenv(name, value)
        yield cloud
    cloud.stop()


@pytest.fixture(autouse=True)
def plays_what_it_says(request: pytest.FixtureRequest) -> Iterator[None]:
    """Holds a test to its marker `plays`, from which COVERAGE.md is written."""
    promised = {
        (marker.args[0], operation)
        for marker in request.node.iter_markers("plays")
        for operation in marker.args[1].split()
    }
    if not promised or "cloud" not in request.fixturenames:
        yield
        return
    cloud = request.getfixturevalue("cloud")
    _, since = cloud.journal(10**9)
    yield
    entries, _ = cloud.journal(since)
    assert promised - {(entry["service"], entry["operation"]) for entry in entries} == set()


@pytest.fixture
async def http(cloud: Cloud) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client that takes the way of the SDKs: proxy and authority from the environment."""
    context = ssl.create_default_context(cafile=cloud.endpoints.ca_bundle)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), trust_env=True) as session:
        yield session


@pytest.fixture
def options(http: aiohttp.ClientSession) -> dict[str, Any]:
    """Keyword arguments for every asynchronous SDK client and credential."""
    return {"transport": AioHttpTransport(session=http, session_owner=False)}


@pytest.fixture(scope="module")
def tenant(cloud: Cloud) -> Deployed:
    """A tenant shared by a module's tests; one that changes its tenant deploys its own."""
    return cloud.deploy()


@pytest.fixture
async def data_identity(cloud: Cloud) -> AsyncIterator[ManagedIdentityCredential]:
    async with ManagedIdentityCredential(client_id=cloud.data_identity.client_id) as credential:
        yield credential


@pytest.fixture
async def control_identity(cloud: Cloud) -> AsyncIterator[ManagedIdentityCredential]:
    async with ManagedIdentityCredential(client_id=cloud.control_identity.client_id) as credential:
        yield credential


@pytest.fixture
async def daemon(
    cloud: Cloud, tenant: Deployed, data_identity: ManagedIdentityCredential, options: dict[str, Any]
) -> AsyncIterator[ClientSecretCredential]:
    """The shared tenant's daemon, through steps 1 and 2 of an invocation."""
    async with SecretClient(cloud.vault_url, data_identity, **options) as vault:
        secret = await vault.get_secret(tenant.credential_name)
    assert secret.value is not None
    directory_id = cloud.publisher_directory_id
    async with ClientSecretCredential(directory_id, tenant.client_id, secret.value, **options) as credential:
        yield credential
