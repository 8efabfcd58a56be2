"""The broker with the real adapters, wired as shared/bootstrap wires them, against the stand-in in a thread of its own.

Its clock can be moved, and the stand-in's with it. The pauses between attempts are real.
"""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from azure.identity.aio import ManagedIdentityCredential

from infra.local import leaks
from shared import telemetry
from shared.access.broker import Broker
from shared.access.documents import Documents
from shared.access.models import Account, CredentialKind, CredentialName, Daemon
from shared.access.retrieval import Steps
from shared.adapters.clock import SystemClock
from shared.adapters.cosmos import TenantAccounts, registry_documents
from shared.adapters.entra import Entra
from shared.adapters.http import SharedTransport, open_session
from shared.adapters.key_vault import KeyVault
from shared.adapters.resource_manager import ResourceManager
from shared.core.caller import ClientId
from shared.core.errors import BulkheadError
from shared.core.ids import DirectoryId, RequestId, TenantId, new_id
from shared.core.lease import LeaseLimits, Purpose
from shared.tenants.anchors import RegistryAnchors
from shared.tenants.models import Tenant
from shared.tenants.registry import Registry

LIMITS = LeaseLimits(max_age=60, keep_key=120, keep_token=300, patience=20)
SERVICES = ("key_vault", "entra", "resource_manager")
_STEPS = {"get_secret", "issue_token", "list_keys"}


class MovableClock(SystemClock):
    """The system's clock, and what was let pass beyond it."""

    def __init__(self, cloud: Any) -> None:
        self._cloud = cloud
        self._beyond = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._beyond

    def pass_by(self, seconds: float) -> None:
        """Let time pass, here and at the stand-in."""
        self._beyond += seconds
        self._cloud._shift = self._beyond


class Chain:
    """One process of the service."""

    def __init__(self, cloud: Any, limits: LeaseLimits = LIMITS, instances: int = 1) -> None:
        telemetry.quieten_sdks()
        # aiohttp made its one verifying context at import, before this stand-in's authority was there.
        aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(cafile=cloud.endpoints.ca_bundle)
        self.cloud = cloud
        self.clock = MovableClock(cloud)
        self._session = open_session()
        proxy = cloud.endpoints.proxy
        transport = SharedTransport(self._session, proxy)
        identity = ManagedIdentityCredential(client_id=cloud.data_identity.client_id, transport=transport)
        documents = registry_documents(transport, cloud.endpoints.env["BULKHEAD_REGISTRY_ENDPOINT"], identity)
        self._registry_client = documents._client
        self.registry = Registry(documents, self.clock)
        self._accounts = TenantAccounts(proxy)
        self.broker = Broker(
            Steps(
                KeyVault(transport, identity, federated=True), Entra(transport), ResourceManager(transport), self.clock
            ),
            self._accounts, self.registry, RegistryAnchors(documents), self.clock, telemetry.event, limits,
            share=True, instances=instances,
        )  # fmt: skip

    async def close(self) -> None:
        await asyncio.sleep(0)  # what is due now begins
        if under_way := asyncio.all_tasks() - {asyncio.current_task()}:  # an anchor, say: not to be cut off
            await asyncio.wait(under_way, timeout=5)
        await self._accounts.close()
        await self._registry_client.close()
        await self._session.close()
        self.cloud._shift = 0.0

    async def register(self, deployed: Any, kind: CredentialKind = "secret") -> Tenant:
        """Put a deployed tenant into the registry."""
        vault, name = ("", "") if kind == "federated" else (self.cloud.vault_url.rstrip("/"), deployed.credential_name)
        now = self.clock.now()
        stamp = now.isoformat()
        made = Tenant(
            id=TenantId(new_id("ten", now)),
            name=deployed.name,
            directory_id=DirectoryId(deployed.directory_id),
            application_id=deployed.application_id.lower(),
            account=Account(
                resource_id=deployed.account_id, endpoint=f"https://{deployed.cosmos_account}.documents.azure.com:443/"
            ),
            daemon=Daemon(
                directory_id=DirectoryId(self.cloud.publisher_directory_id),
                client_id=ClientId(deployed.client_id),
                credential=CredentialName(kind=kind, vault=vault, name=name),
            ),
            status="active",
            created_at=stamp,
            updated_at=stamp,
        )
        await self.registry.add(made)
        return made

    @asynccontextmanager
    async def open(self, tenant: Tenant, *, writes: bool = False) -> AsyncIterator[Documents]:
        """One invocation on the tenant's account. Raises BulkheadError."""
        purpose = Purpose("user:tester", "candidates.read", "cand_1", RequestId("req_1"), writes)
        async with self.broker.lease(tenant.target, purpose) as documents:
            yield documents

    async def invoke(self, tenant: Tenant) -> None:
        """One whole invocation: a point read of what is not there."""
        async with self.open(tenant) as documents:
            assert await documents.read("candidates", "cand_1", "cand_1") is None


@asynccontextmanager
async def chain(cloud: Any, **more: Any) -> AsyncIterator[Chain]:
    """A process of the service, ended with the block."""
    made = Chain(cloud, **more)
    try:
        yield made
    finally:
        await made.close()


class Journal:
    """What one tenant's invocations asked of Azure since `mark`."""

    def __init__(self, cloud: Any, deployed: Any, tenant: Tenant) -> None:
        self._cloud = cloud
        self._names = (
            f"/{tenant.daemon.credential.name}" if tenant.daemon.credential.name else "no secret",
            f"/{tenant.daemon.client_id}",
            deployed.cosmos_account,
        )
        self.mark()

    def mark(self) -> None:
        """Forget what was so far."""
        _, self._since = self._cloud.journal(10**9)

    def entries(self) -> list[dict[str, Any]]:
        """Entries of this tenant."""
        found, _ = self._cloud.journal(self._since)
        return [one for one in found if any(name in one["target"] for name in self._names)]

    def steps(self) -> tuple[int, ...]:
        """How often Key Vault, Entra and Resource Manager were asked for what steps 1, 2 and 3 need."""
        asked = [one["service"] for one in self.entries() if one["operation"] in _STEPS]
        return tuple(asked.count(service) for service in SERVICES)


def texts(error: BaseException | None, logged: pytest.LogCaptureFixture) -> Iterator[tuple[str, str]]:
    """Everything that could be shown of an error with all its causes, and everything that was logged."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield "error", f"{one} {one!r} {one.args!r}"
        waiting += [one.__cause__, one.__context__]
    if error is not None:
        yield "traceback", "".join(traceback.format_exception(error))
    yield "log", logged.text + " ".join(str(record.__dict__) for record in logged.records)


def assert_nothing_leaks(cloud: Any, error: BulkheadError | None, logged: pytest.LogCaptureFixture) -> None:
    """No secret that was ever issued is in what could be shown of `error`, or was logged."""
    issued = list(leaks.secrets(cloud.control("GET", "/secrets")[1]["secrets"]))
    assert issued
    assert leaks.scan(texts(error, logged), issued).leaks == ()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that is logged, by whomever."""
    caplog.set_level(logging.DEBUG)
    return caplog
