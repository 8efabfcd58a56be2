"""The Documents port on an account: the contract that the tests' fake is held to as well, by way of a lease."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from azure.cosmos import PartitionKey
from azure.cosmos.aio import CosmosClient

from shared.access.documents import Documents, Query
from shared.access.models import Account
from shared.adapters.cosmos import DATABASE, TenantAccounts
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import LeaseId
from shared.core.lease import AccountKey, Lease, Purpose
from shared.core.secret import Secret
from tests.conformance.cloud import Cloud, KeyedAccount
from tests.documents_contract import PARTITIONS, UNIQUE, DocumentsContract


@pytest.fixture
async def documents(cloud: Cloud, account: KeyedAccount, client: CosmosClient) -> AsyncIterator[Documents]:
    """The documents of the account, which a lease signs for."""
    if cloud.ca_bundle is not None:  # aiohttp made its one verifying context at import, before this authority was there
        aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(cafile=cloud.ca_bundle)
    database = await client.create_database_if_not_exists(DATABASE)
    for container, field in PARTITIONS.items():
        unique = [{"paths": [f"/{path}"]} for path in UNIQUE.get(container, ())]
        policy: Any = {"uniqueKeys": unique} if unique else None
        await database.create_container_if_not_exists(container, PartitionKey(f"/{field}"), unique_key_policy=policy)
    purpose = Purpose("user:1", "suite.run", "suite", "req_1", writes=True)
    lease = Lease(LeaseId("lea_1"), account.endpoint, purpose, time.monotonic)
    lease.hold(AccountKey("primary", Secret(account.keys["primary"]), "f"), time.monotonic() + 600)
    accounts = TenantAccounts(os.environ.get("HTTPS_PROXY"))
    before = asyncio.all_tasks()
    yield accounts.open(Account(resource_id="/suite", endpoint=account.endpoint), _Signer(lease))
    # The SDK's own look at the account, cut off while it connects, would leave a socket to be found by a later test.
    if under_way := asyncio.all_tasks() - before - {asyncio.current_task()}:
        await asyncio.wait(under_way, timeout=2)
    await accounts.close()


class _Signer:
    def __init__(self, lease: Lease) -> None:
        self.sign = lease.sign

    async def renew(self, *, refused: bool) -> None:
        raise AssertionError("refused" if refused else "too old")


class TestCosmosDocuments(DocumentsContract):
    async def test_a_container_that_the_customer_deleted_is_an_error_of_ours(self, documents: Documents) -> None:
        stored = {"id": "a", "month": "2026-01"}
        for call in (
            documents.create("access_log", stored),
            documents.write_together("access_log", "2026-01", [stored], []),
            documents.query(Query("access_log", {}, partition="2026-01")),
        ):
            with pytest.raises(BulkheadError) as caught:
                await call
            assert caught.value.kind is Kind.BROKEN
