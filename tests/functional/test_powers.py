"""What each identity, and whoever holds a stolen token of it, can reach: docs/threat-model.md, claim by claim.

All in Azure's own SDKs or plain requests under Azure's own host names, from outside of the application.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity.aio import ClientAssertionCredential
from azure.keyvault.secrets.aio import SecretClient

from infra.local.company import Company
from infra.local.demo.intruder import Intruder
from infra.local.lab import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

ARM, VAULT = "https://management.azure.com", "https://vault.azure.net"
COSMOS = "https://bulkhead-registry.documents.azure.com"
REGISTERED = f"{COSMOS}/dbs/bulkhead/colls/tenants"
EXCHANGE = "api://AzureADTokenExchange"
DATA, CONTROL = "BULKHEAD_IDENTITY_CLIENT_ID", "BULKHEAD_CONTROL_IDENTITY_CLIENT_ID"

type Send = Callable[..., Awaitable[int]]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def federated(lab: Lab) -> Company:
    return await lab.company("federated")


@pytest.fixture
def send(intruder: Intruder) -> Send:
    async def send(method: str, url: str, token: str, body: Any = None, **headers: str) -> int:
        sent = {"Authorization": f"Bearer {token}"} | headers
        async with intruder._session.request(method, url, headers=sent, json=body) as answer:
            return answer.status

    return send


async def token_for(credential: AsyncTokenCredential, resource: str) -> str:
    token = (await credential.get_token(f"{resource}/.default")).token
    await credential.close()
    return token


def account_url(company: Company, rest: str = "") -> str:
    deployed = company.deployed
    group = f"/subscriptions/{deployed['subscription_id']}/resourceGroups/{deployed['resource_group']}"
    account = f"{group}/providers/Microsoft.DocumentDB/databaseAccounts/{company.account}"
    return f"{ARM}{account}{rest}?api-version=2024-11-15"


def credential_url(company: Company) -> str:
    return f"{company.registered['vault'].rstrip('/')}/secrets/{company.registered['credential_name']}?api-version=7.5"


# --- identities ---------------------------------------------------------------------------------------------------


async def test_a_daemon_may_list_the_keys_of_its_account_and_nothing_else(
    acme: Company, intruder: Intruder, send: Send
) -> None:
    daemon = await intruder.daemon(acme)
    assert await intruder.list_keys(daemon, acme)
    managing = (await daemon.get_token(f"{ARM}/.default")).token
    reading = (await daemon.get_token(f"{VAULT}/.default")).token
    registry = await token_for(daemon, COSMOS)
    role = f"/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    for method, url, body in (
        ("GET", account_url(acme, "/readonlykeys"), None),
        ("PUT", account_url(acme, role).replace("2024-11-15", "2022-04-01"), {"properties": {
            "roleDefinitionId": "/x/5bd9cd88-fe45-4216-938b-f97437e15450", "principalId": str(uuid.uuid4())}}),
    ):  # fmt: skip
        assert await send(method, url, managing, body) == 403, method
    assert await send("GET", credential_url(acme), reading) == 403  # not even its own credential
    assert await send("GET", REGISTERED, registry, **at_registry(registry)) == 403


async def test_the_data_identity_gets_credentials_by_name_and_nothing_else(
    acme: Company, intruder: Intruder, send: Send
) -> None:
    identity = intruder.managed_identity(DATA)
    vault = acme.registered["vault"]
    async with SecretClient(vault, identity, transport=intruder._transport) as client:
        assert (await client.get_secret(acme.registered["credential_name"])).value
        for attempt in (first(client.list_properties_of_secrets()), client.set_secret("planted", "x")):
            with pytest.raises(HttpResponseError) as refused:
                await attempt
            assert refused.value.status_code == 403
    managing = await token_for(identity, ARM)
    for url in (account_url(acme), f"{ARM}{acme.deployed['application_id']}?api-version=2021-07-01"):
        assert await send("GET", url, managing) == 403
    assert await send("POST", account_url(acme, "/listKeys"), managing) == 403


async def test_two_hops_of_the_data_identity_are_all_tenants_of_its_vault_and_all_federated_ones(
    acme: Company, globex: Company, federated: Company, intruder: Intruder, send: Send
) -> None:
    """What this design does not prevent, said as it is."""
    for company in (acme, globex):
        assert await intruder.list_keys(await intruder.daemon(company), company)
    assertion = await token_for(intruder.managed_identity(DATA), EXCHANGE)
    assert (
        await send("POST", account_url(federated, "/listKeys"), await exchanged(intruder, federated, assertion)) == 200
    )


async def test_a_federated_daemon_trusts_one_identity_only(
    lab: Lab, acme: Company, federated: Company, intruder: Intruder
) -> None:
    for setting, company, code in ((CONTROL, federated, "AADSTS700213"), (DATA, acme, "AADSTS70021:")):
        assertion = await token_for(intruder.managed_identity(setting), EXCHANGE)
        with pytest.raises(ClientAuthenticationError, match=code):
            await exchanged(intruder, company, assertion)
    pretended = await lab.client.token(roles=("x",), overrides={"aud": EXCHANGE})  # a user of the same directory
    with pytest.raises(ClientAuthenticationError, match="AADSTS700213"):
        await exchanged(intruder, federated, pretended)


async def test_the_control_identity_reads_applications_and_no_keys(
    acme: Company, intruder: Intruder, send: Send
) -> None:
    managing = await token_for(intruder.managed_identity(CONTROL), ARM)
    assert await send("GET", f"{ARM}{acme.deployed['application_id']}?api-version=2021-07-01", managing) == 200
    for method, rest in (("POST", "/listKeys"), ("POST", "/readonlykeys"), ("GET", "/readonlykeys")):
        assert await send(method, account_url(acme, rest), managing) == 403


# --- stolen tokens ------------------------------------------------------------------------------------------------


async def test_a_stolen_token_is_worth_nothing_where_it_was_not_issued_for(
    lab: Lab, acme: Company, intruder: Intruder, send: Send
) -> None:
    async def of_identity(resource: str) -> str:
        return await token_for(intruder.managed_identity(DATA), resource)

    daemon = await token_for(await intruder.daemon(acme), ARM)
    vault, registry, exchange = await asyncio.gather(*(of_identity(one) for one in (VAULT, COSMOS, EXCHANGE)))
    user = await lab.client.token(acme.name, ("Tenant.Admin",))
    at_arm = ("POST", account_url(acme, "/listKeys"))
    at_vault = ("GET", credential_url(acme))
    assert await send("GET", REGISTERED, registry, **at_registry(registry)) == 200
    for name, token, places in (
        ("daemon", daemon, [at_vault]),
        ("vault", vault, [at_arm]),
        ("registry", registry, [at_arm, at_vault]),
        ("exchange", exchange, [at_arm, at_vault]),
        ("user", user, [at_arm, at_vault]),
    ):
        for method, url in places:
            assert await send(method, url, token) == 401, (name, url)
        if name != "user":
            assert (await lab.client.api("GET", "/tenant", token)).status == 401, name
        if name != "registry":
            assert await send("GET", REGISTERED, token, **at_registry(token)) == 401, name


async def test_the_publishers_staff_manage_tenants_and_see_none_of_their_data(lab: Lab, acme: Company) -> None:
    token = await lab.client.token(roles=("Publisher.Operate", "Publisher.Read", "Tenant.Admin"))
    for path in ("/candidates", "/reports", "/packages", "/access_log", "/tenant"):
        for headers in ({}, {"Bulkhead-Tenant": acme.id}):
            reply = await lab.client.api("GET", path, token, headers=headers)
            assert reply.status in (403, 404), path
    shown = await lab.client.api("GET", f"/tenants/{acme.id}", token)
    assert shown.status == 200
    assert not {"secret", "key", "keys", "password", "endpoint"} & shown.json.keys()


# --- help ---------------------------------------------------------------------------------------------------------


async def exchanged(intruder: Intruder, company: Company, assertion: str) -> str:
    """A token for Resource Manager as the company's daemon. Raises ClientAuthenticationError."""
    directory, client_id = intruder._env["BULKHEAD_PUBLISHER_DIRECTORY_ID"], company.registered["daemon_client_id"]
    async with ClientAssertionCredential(
        directory, client_id, lambda: assertion, transport=intruder._transport
    ) as daemon:
        return (await daemon.get_token(f"{ARM}/.default")).token


def at_registry(token: str) -> dict[str, str]:
    """Headers with which Cosmos DB is given a token ("Access control on Azure Cosmos DB resources")."""
    date = formatdate(usegmt=True)
    signed = quote(f"type=aad&ver=1.0&sig={token}", safe="")
    return {"Authorization": signed, "x-ms-date": date, "x-ms-version": "2020-07-15"}


async def first(found: Any) -> Any:
    async for one in found:
        return one
    return None
