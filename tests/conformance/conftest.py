"""What every wire suite works on: a cloud, tenants in it, and the options by which SDK clients reach it.

Tests marked `standin` use what Azure itself does not offer (faults, journal, a clock that can be moved).
"""

import asyncio
import inspect
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientSecretCredential
from azure.keyvault.secrets.aio import SecretClient

from infra.local.waiting import until
from tests.conformance.cloud import VARIABLE, Cloud, Deployed, StandInCloud, given

type SignIn = Callable[[Deployed], Awaitable[ClientSecretCredential]]


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "standin: needs what only the stand-in offers; not run against real Azure",
        "plays(service, operations): what the test has the service do, as the journal names it, with spaces between",
        "not_played(text): the test shows that this answers 501",
        "inferred(text): the test expects what no source says",
    ):
        config.addinivalue_line("markers", marker)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs the stand-in is not run against Azure."""
    if os.environ.get(VARIABLE) and item.get_closest_marker("standin"):
        pytest.skip("needs what only the stand-in offers")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = given() or StandInCloud(tmp_path_factory.mktemp("cloud"))
    environment = cloud.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if environment and name.lower().endswith("_proxy")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        yield cloud
    cloud.stop()


@pytest.fixture(autouse=True)
def ends_its_calls(request: pytest.FixtureRequest) -> None:
    """A test's loop is closed once its connections are."""
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("hung_up")


@pytest.fixture
async def hung_up() -> AsyncIterator[None]:
    """Waits at the end for goodbyes, which TLS says after a client has closed: more of them when the machine is busy.

    Else a later test that happens to collect garbage would fail for an unclosed socket of this one.
    """
    files = asyncio.get_running_loop()._selector.get_map()
    before = len(files)
    yield

    async def look() -> bool:
        return len(files) <= before

    await until(look, 10)


@pytest.fixture(autouse=True)
def plays_what_it_says(request: pytest.FixtureRequest) -> Iterator[None]:
    """Holds a test to its marker `plays`, from which COVERAGE.md is written."""
    promised = {
        (marker.args[0], operation)
        for marker in request.node.iter_markers("plays")
        for operation in marker.args[1].split()
    }
    cloud = request.getfixturevalue("cloud") if promised and "cloud" in request.fixturenames else None
    if not isinstance(cloud, StandInCloud):
        yield
        return
    _, since = cloud.journal(10**9)
    yield
    entries, _ = cloud.journal(since)
    assert promised - {(entry["service"], entry["operation"]) for entry in entries} == set()


@pytest.fixture
async def http(cloud: Cloud) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client that takes the way of the SDKs: proxy and authority from the environment."""
    context = ssl.create_default_context(cafile=cloud.ca_bundle)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), trust_env=True) as session:
        yield session


@pytest.fixture
def options(http: aiohttp.ClientSession) -> dict[str, Any]:
    """Keyword arguments for every asynchronous SDK client and credential."""
    return {"transport": AioHttpTransport(session=http, session_owner=False)}


@pytest.fixture(scope="module")
def tenant(cloud: Cloud) -> Deployed:
    """A tenant shared by a module's tests; one that changes its tenant takes `changing`."""
    return cloud.shared_tenant()


@pytest.fixture
def changing(cloud: Cloud) -> Deployed:
    """A tenant whose keys may change."""
    return cloud.deploy()


@pytest.fixture
async def data_identity(cloud: Cloud) -> AsyncIterator[AsyncTokenCredential]:
    async with cloud.credential("data") as credential:
        yield credential


@pytest.fixture
async def control_identity(cloud: Cloud) -> AsyncIterator[AsyncTokenCredential]:
    async with cloud.credential("control") as credential:
        yield credential


@pytest.fixture
async def sign_in(cloud: Cloud, data_identity: AsyncTokenCredential, options: dict[str, Any]) -> AsyncIterator[SignIn]:
    """Signs in as a tenant's daemon, through steps 1 and 2 of an invocation."""
    async with AsyncExitStack() as stack:

        async def credential_of(tenant: Deployed) -> ClientSecretCredential:
            async with SecretClient(cloud.vault_url, data_identity, **options) as vault:
                secret = await vault.get_secret(tenant.credential_name)
            assert secret.value is not None
            directory_id = cloud.publisher_directory_id
            return await stack.enter_async_context(
                ClientSecretCredential(directory_id, tenant.client_id, secret.value, **options)
            )

        yield credential_of


@pytest.fixture
async def daemon(tenant: Deployed, sign_in: SignIn) -> ClientSecretCredential:
    """The shared tenant's daemon."""
    return await sign_in(tenant)
