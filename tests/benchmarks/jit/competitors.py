"""What is compared. Each does one invocation for a tenant: obtain the key as it does, read one candidate.

Imports are inside the functions, so that a process loads the SDKs of one competitor only.
"""
# ruff: noqa: PLC0415 - a process imports the SDKs of one competitor only

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from tests.benchmarks.jit.tenants import BenchTenant

type Invoke = Callable[[BenchTenant], Awaitable[None]]

DATABASE, CONTAINER = "bulkhead", "candidates"
_SCOPES_OF_IDENTITY = "BULKHEAD_IDENTITY_CLIENT_ID"


async def ours(_stack: AsyncExitStack) -> Invoke:
    """The application's broker with its access record, and a point read through the lease."""
    import msgspec

    from shared import bootstrap
    from shared.core.ids import RequestId
    from shared.core.lease import Purpose
    from shared.settings import Settings
    from shared.tenants.models import Tenant

    broker = bootstrap.App(Settings.from_env()).broker
    targets: dict[str, Any] = {}

    async def invoke(tenant: BenchTenant) -> None:
        if tenant.name not in targets:
            targets[tenant.name] = msgspec.convert(tenant.entry, Tenant).target
        purpose = Purpose("benchmark", "candidates.read", tenant.candidate_id, RequestId("req_bench"), writes=False)
        async with broker.lease(targets[tenant.name], purpose) as documents:
            _check(await documents.read(CONTAINER, tenant.candidate_id, tenant.candidate_id))

    return invoke


async def naive(_stack: AsyncExitStack) -> Invoke:
    """The classic snippets of Microsoft's articles, ported: synchronous clients made for each invocation."""
    from azure.cosmos import CosmosClient
    from azure.identity import ClientSecretCredential, ManagedIdentityCredential
    from azure.keyvault.secrets import SecretClient
    from azure.mgmt.cosmosdb import CosmosDBManagementClient

    identity_id = os.environ[_SCOPES_OF_IDENTITY]

    async def invoke(tenant: BenchTenant) -> None:
        with (
            ManagedIdentityCredential(client_id=identity_id) as identity,
            SecretClient(tenant.vault, identity) as vault,
        ):
            secret = vault.get_secret(tenant.secret).value or ""
        with (
            ClientSecretCredential(tenant.directory_id, tenant.client_id, secret) as daemon,
            CosmosDBManagementClient(daemon, tenant.subscription_id) as management,
        ):
            keys = management.database_accounts.list_keys(tenant.resource_group, tenant.account)
        with CosmosClient(tenant.endpoint, keys.primary_master_key) as cosmos:
            container = cosmos.get_database_client(DATABASE).get_container_client(CONTAINER)
            _check(container.read_item(tenant.candidate_id, tenant.candidate_id))

    return invoke


async def naive_aio(_stack: AsyncExitStack) -> Invoke:
    """The same with the asynchronous clients."""
    from azure.cosmos.aio import CosmosClient
    from azure.identity.aio import ClientSecretCredential, ManagedIdentityCredential
    from azure.keyvault.secrets.aio import SecretClient
    from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

    identity_id = os.environ[_SCOPES_OF_IDENTITY]

    async def invoke(tenant: BenchTenant) -> None:
        async with (
            ManagedIdentityCredential(client_id=identity_id) as identity,
            SecretClient(tenant.vault, identity) as vault,
        ):
            secret = (await vault.get_secret(tenant.secret)).value or ""
        async with (
            ClientSecretCredential(tenant.directory_id, tenant.client_id, secret) as daemon,
            CosmosDBManagementClient(daemon, tenant.subscription_id) as management,
        ):
            keys = await management.database_accounts.list_keys(tenant.resource_group, tenant.account)
        async with CosmosClient(tenant.endpoint, keys.primary_master_key) as cosmos:
            container = cosmos.get_database_client(DATABASE).get_container_client(CONTAINER)
            _check(await container.read_item(tenant.candidate_id, tenant.candidate_id))

    return invoke


async def floor(stack: AsyncExitStack) -> Invoke:
    """Nothing to obtain and nothing to record: the key in hand, the SDK's client warm."""
    from azure.cosmos.aio import CosmosClient
    from azure.identity.aio import ClientSecretCredential, ManagedIdentityCredential
    from azure.keyvault.secrets.aio import SecretClient
    from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

    containers: dict[str, Any] = {}

    async def container_of(tenant: BenchTenant) -> Any:
        async with (
            ManagedIdentityCredential(client_id=os.environ[_SCOPES_OF_IDENTITY]) as identity,
            SecretClient(tenant.vault, identity) as vault,
        ):
            secret = (await vault.get_secret(tenant.secret)).value or ""
        async with (
            ClientSecretCredential(tenant.directory_id, tenant.client_id, secret) as daemon,
            CosmosDBManagementClient(daemon, tenant.subscription_id) as management,
        ):
            keys = await management.database_accounts.list_keys(tenant.resource_group, tenant.account)
        cosmos = await stack.enter_async_context(CosmosClient(tenant.endpoint, keys.primary_master_key))
        return cosmos.get_database_client(DATABASE).get_container_client(CONTAINER)

    async def invoke(tenant: BenchTenant) -> None:
        container = containers.get(tenant.name)
        if container is None:
            container = containers[tenant.name] = await container_of(tenant)
        _check(await container.read_item(tenant.candidate_id, tenant.candidate_id))

    return invoke


COMPETITORS = {"ours": ours, "naive": naive, "naive_aio": naive_aio, "floor": floor}


def _check(found: Any) -> None:
    if not found:
        raise LookupError("the candidate was not found")
