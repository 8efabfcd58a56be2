"""Federated credentials: an application that trusts a managed identity of its own directory, and needs no secret.

On Azure only a machine there has a managed identity, so all of it needs the stand-in.

Source: learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity.
"""

import uuid
from typing import Any

import aiohttp
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ClientAssertionCredential, ManagedIdentityCredential

from infra.local.standin.directories import Application, FederatedCredential

pytestmark = pytest.mark.standin  # a run on Azure is given no federated application yet

ARM = "https://management.azure.com/.default"
LOGIN = "https://login.microsoftonline.com"
EXCHANGE = "api://AzureADTokenExchange"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def application(cloud: Any) -> Application:
    """It trusts the data plane's identity."""
    directories = cloud.azure.directories
    made = cloud.call(lambda: directories.create_application(cloud.publisher_directory_id, "test"))
    cloud.call(lambda: directories.add_federated(made.client_id, cloud.data_identity))
    return made


async def exchange(
    http: aiohttp.ClientSession, directory_id: str, client_id: str, assertion: str
) -> tuple[int, dict[str, Any]]:
    form = {
        "grant_type": "client_credentials", "client_id": client_id, "scope": ARM,
        "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion,
    }  # fmt: skip
    async with http.post(f"{LOGIN}/{directory_id}/oauth2/v2.0/token", data=form) as answer:
        return answer.status, await answer.json()


async def token_of(identity: ManagedIdentityCredential) -> str:
    return (await identity.get_token(f"{EXCHANGE}/.default")).token


@pytest.mark.plays("managed_identity", "issue_token")
@pytest.mark.inferred("the version and claims of a managed identity's token for the exchange, beyond iss, sub and aud")
async def test_token_of_a_managed_identity_for_the_exchange(
    cloud: Any, data_identity: ManagedIdentityCredential
) -> None:
    # Source: the same page: issuer, subject and audience of the credential are compared with iss, sub and aud
    claims = jwt.decode(await token_of(data_identity), options={"verify_signature": False})
    assert (claims["iss"], claims["sub"], claims["aud"]) == (
        f"{LOGIN}/{cloud.publisher_directory_id}/v2.0", cloud.data_identity.principal_id, EXCHANGE,
    )  # fmt: skip


@pytest.mark.plays("managed_identity", "issue_token")
@pytest.mark.plays("entra", "issue_token")
async def test_managed_identity_stands_for_the_application(
    cloud: Any, application: Application, data_identity: ManagedIdentityCredential, options: dict[str, Any]
) -> None:
    # Source: the same page, "Access Microsoft Entra protected resources in the same tenant"
    async def assertion() -> str:
        return await token_of(data_identity)

    token = await assertion()
    async with ClientAssertionCredential(
        cloud.publisher_directory_id, application.client_id, lambda: token, **options
    ) as credential:
        claims = jwt.decode((await credential.get_token(ARM)).token, options={"verify_signature": False})
    assert (claims["appid"], claims["oid"], claims["appidacr"]) == (
        application.client_id, application.principal_id, "2",
    )  # fmt: skip


@pytest.mark.plays("entra", "issue_token")
async def test_another_identity_does_not(
    cloud: Any, application: Application, control_identity: ManagedIdentityCredential, options: dict[str, Any]
) -> None:
    token = await token_of(control_identity)
    async with ClientAssertionCredential(
        cloud.publisher_directory_id, application.client_id, lambda: token, **options
    ) as credential:
        # Source of status and code: github.com/Azure/azure-workload-identity/issues/1200
        with pytest.raises(ClientAuthenticationError, match="AADSTS700213") as caught:
            await credential.get_token(ARM)
    assert caught.value.status_code == 401


@pytest.mark.plays("entra", "issue_token")
async def test_application_without_federation(
    cloud: Any, http: aiohttp.ClientSession, data_identity: ManagedIdentityCredential
) -> None:
    # Source of status and code: github.com/Azure/azure-workload-identity/issues/616
    directories = cloud.azure.directories
    stranger = cloud.call(lambda: directories.create_application(cloud.publisher_directory_id, "stranger"))
    status, body = await exchange(http, cloud.publisher_directory_id, stranger.client_id, await token_of(data_identity))
    assert (status, body["error"], body["error_codes"]) == (400, "invalid_request", [70021])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        # Sources: github.com/Azure/azure-workload-identity/issues/1200 (700211, 700213),
        # github.com/MicrosoftDocs/azure-docs/issues/109083 (700229); 700024: reference-error-codes.
        ({"iss": f"{LOGIN}/{uuid.uuid4()}/v2.0"}, 700211),
        ({"iss": "https://token.actions.githubusercontent.com"}, 700211),
        ({"sub": str(uuid.uuid4())}, 700213),
        ({"aud": "https://management.azure.com"}, 700212),
        ({"exp": 1, "nbf": 0}, 700024),
        ({"idtyp": None}, 700229),
    ],
)
@pytest.mark.plays("entra", "issue_token")
async def test_assertions_that_are_refused(
    cloud: Any, http: aiohttp.ClientSession, application: Application, changes: dict[str, Any], code: int
) -> None:
    identity = cloud.data_identity
    good = {"sub": identity.principal_id, "idtyp": "app"}
    issued = cloud.azure.tokens.user_token(
        cloud.publisher_directory_id, EXCHANGE, client_id=identity.client_id, object_id=identity.principal_id,
        roles=[], overrides=good | changes,
    )  # fmt: skip
    status, body = await exchange(http, cloud.publisher_directory_id, application.client_id, issued)
    assert (status, body["error"], body["error_codes"]) == (401, "invalid_client", [code])


@pytest.mark.plays("entra", "issue_token")
async def test_forged_assertion(cloud: Any, http: aiohttp.ClientSession, application: Application) -> None:
    identity = cloud.data_identity
    forged = cloud.azure.tokens.user_token(
        cloud.publisher_directory_id, EXCHANGE, client_id=identity.client_id, object_id=identity.principal_id,
        roles=[], overrides={"sub": identity.principal_id, "idtyp": "app"}, forged=True,
    )  # fmt: skip
    status, body = await exchange(http, cloud.publisher_directory_id, application.client_id, forged)
    assert (status, body["error_codes"]) == (401, [700027])


@pytest.mark.plays("managed_identity", "issue_token")
async def test_token_for_the_exchange_opens_nothing_itself(
    cloud: Any, http: aiohttp.ClientSession, data_identity: ManagedIdentityCredential, tenant: Any
) -> None:
    token = await token_of(data_identity)
    for url in (
        f"https://management.azure.com{tenant.account_id}?api-version=2024-11-15",
        f"{cloud.vault_url}secrets/{tenant.credential_name}?api-version=7.5",
    ):
        async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 401


@pytest.mark.plays("entra", "issue_token")
async def test_daemon_made_federated_has_no_credential_anywhere(
    cloud: Any, http: aiohttp.ClientSession, data_identity: ManagedIdentityCredential
) -> None:
    status, tenant = cloud.control("POST", "/tenants", {"name": f"t-{uuid.uuid4().hex[:12]}"})
    assert status == 201
    status, daemon = cloud.control("POST", "/daemons", {"name": tenant["name"], "credential": "federated"})
    assert status == 201
    assert (daemon["credential_name"], daemon["vault"]) == (None, None)
    made = cloud.azure.directories.application(daemon["client_id"])
    assert [type(one) for one in made.credentials] == [FederatedCredential]
    status, _ = await exchange(http, cloud.publisher_directory_id, daemon["client_id"], await token_of(data_identity))
    assert status == 200


@pytest.mark.plays("entra", "issue_token")
async def test_rotation_to_federation_and_back(
    cloud: Any, http: aiohttp.ClientSession, data_identity: ManagedIdentityCredential
) -> None:
    tenant, assertion = cloud.deploy(), await token_of(data_identity)
    vaults = cloud.azure.vaults
    _, daemon = cloud.control("POST", f"/daemons/{tenant.name}/rotate", {"credential": "federated"})
    assert daemon["credential_name"] is None
    assert vaults.secret(vaults.get("bulkhead-kv"), tenant.credential_name).deleted
    assert (await exchange(http, cloud.publisher_directory_id, tenant.client_id, assertion))[0] == 200
    _, daemon = cloud.control("POST", f"/daemons/{tenant.name}/rotate", {"credential": "secret"})
    assert daemon["credential_name"] not in (None, tenant.credential_name)
    assert (await exchange(http, cloud.publisher_directory_id, tenant.client_id, assertion))[0] == 400
