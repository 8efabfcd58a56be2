"""Who may do what at Resource Manager, and how it refuses: tokens, roles, deny assignments, locks."""

import uuid
from typing import Any

import aiohttp
import pytest
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity.aio import ClientSecretCredential
from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

from infra.local.standin import authorization, publisher
from infra.local.standin.authorization import RoleAssignment
from tests.conformance.arm import ARM, AUTHORIZATION, error_of, grant, send, token_of


@pytest.mark.plays("resource_manager", "list_accounts read_only_keys")
async def test_daemon_may_nothing_else_on_its_account(
    daemon: ClientSecretCredential, tenant: Any, options: dict[str, Any]
) -> None:
    # The custom role of infra/managed_app/mainTemplate.json: read, listKeys, regenerateKey
    names = (tenant.resource_group, tenant.cosmos_account)
    async with CosmosDBManagementClient(daemon, tenant.subscription_id, **options) as client:
        accounts = client.database_accounts

        async def list_group() -> None:
            async for _ in accounts.list_by_resource_group(tenant.resource_group):
                pass

        for attempt in (accounts.get_read_only_keys(*names), accounts.list_read_only_keys(*names), list_group()):
            with pytest.raises(HttpResponseError) as caught:
                await attempt
            assert error_of(caught) == (403, "AuthorizationFailed")


@pytest.mark.plays("resource_manager", "list_keys")
async def test_daemon_on_another_tenants_account(
    daemon: ClientSecretCredential, tenant: Any, changing: Any, options: dict[str, Any]
) -> None:
    # Source of code and text: learn.microsoft.com/azure/role-based-access-control/troubleshooting
    async with CosmosDBManagementClient(daemon, changing.subscription_id, **options) as client:
        with pytest.raises(HttpResponseError) as caught:
            await client.database_accounts.list_keys(changing.resource_group, changing.cosmos_account)
    assert error_of(caught) == (403, "AuthorizationFailed")
    text = str(caught.value)
    assert tenant.client_id in text
    assert tenant.object_id in text
    assert "Microsoft.DocumentDB/databaseAccounts/listKeys/action" in text
    assert changing.account_id in text


@pytest.mark.plays("resource_manager", "get_account list_keys read_only_keys regenerate_key")
async def test_managed_identities_reach_no_tenants_keys(
    tenant: Any,
    data_identity: AsyncTokenCredential,
    control_identity: AsyncTokenCredential,
    options: dict[str, Any],
) -> None:
    names = (tenant.resource_group, tenant.cosmos_account)
    async with CosmosDBManagementClient(data_identity, tenant.subscription_id, **options) as client:
        for attempt in (client.database_accounts.list_keys(*names), client.database_accounts.get(*names)):
            with pytest.raises(HttpResponseError) as caught:
                await attempt
            assert error_of(caught) == (403, "AuthorizationFailed")
    # Cosmos DB Operator excludes every form of keys; source: built-in-roles/databases#cosmos-db-operator
    async with CosmosDBManagementClient(control_identity, tenant.subscription_id, **options) as client:
        assert (await client.database_accounts.get(*names)).name == tenant.cosmos_account
        for attempt in (
            client.database_accounts.list_keys(*names),
            client.database_accounts.get_read_only_keys(*names),
            client.database_accounts.list_read_only_keys(*names),
            client.database_accounts.begin_regenerate_key(*names, {"keyKind": "primary"}),
        ):
            with pytest.raises(HttpResponseError) as caught:
                await attempt
            assert error_of(caught) == (403, "AuthorizationFailed")


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "read_only_keys")
async def test_wildcard_read_discloses_read_only_keys(cloud: Any, http: aiohttp.ClientSession, changing: Any) -> None:
    # `GET .../readonlykeys` is the action readonlykeys/read, which Reader's `*/read` covers; POST is not.
    # As documented at learn.microsoft.com/azure/role-based-access-control/permissions/databases.
    path = f"{changing.account_id}/readonlykeys"
    token = token_of(cloud, changing)
    assert (await send(http, token, "GET", path))[0] == 403
    grant(cloud, changing.object_id, authorization.READER, changing.account_id)
    status, body, _ = await send(http, token, "GET", path)
    assert status == 200
    assert body.keys() == {"primaryReadonlyMasterKey", "secondaryReadonlyMasterKey"}
    assert (await send(http, token, "POST", path))[0] == 403


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "get_account list_keys")
@pytest.mark.inferred("who has neither role nor exclusion is told of the missing role, not of the deny assignment")
async def test_deny_assignment(cloud: Any, http: aiohttp.ClientSession, tenant: Any) -> None:
    # Source: learn.microsoft.com/azure/role-based-access-control/deny-assignments; excluded are the principals of the
    # definition's authorizations, others are denied whatever their role.
    directories = cloud.azure.directories
    outsider = cloud.call(lambda: directories.create_application(cloud.publisher_directory_id, "outsider"))
    grant(cloud, outsider.principal_id, authorization.DOCUMENTDB_ACCOUNT_CONTRIBUTOR, tenant.account_id)
    token, _ = cloud.azure.tokens.app_token(
        cloud.publisher_directory_id, ARM, client_id=outsider.client_id, object_id=outsider.principal_id, acr="1"
    )
    status, body, _ = await send(http, token, "POST", f"{tenant.account_id}/listKeys")
    assert (status, body["error"]["code"]) == (403, "DenyAssignmentAuthorizationFailed")
    assert tenant.application_id in body["error"]["message"]
    assert (await send(http, token, "GET", tenant.account_id))[0] == 200  # `*/read` is left open
    cloud.call(lambda: directories.add_member(publisher.DAEMONS_GROUP_ID, outsider.principal_id))
    assert (await send(http, token, "POST", f"{tenant.account_id}/listKeys"))[0] == 200


@pytest.mark.plays("resource_manager", "list_keys")
async def test_tokens_that_are_refused(
    http: aiohttp.ClientSession, tenant: Any, daemon: ClientSecretCredential
) -> None:
    # Source of codes: learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors and
    # answers seen from management.azure.com
    for token, code in (
        ("", "AuthenticationFailed"),
        ("garbage", "InvalidAuthenticationToken"),
        ((await daemon.get_token("https://vault.azure.net/.default")).token, "InvalidAuthenticationTokenAudience"),
    ):
        status, body, headers = await send(http, token, "POST", f"{tenant.account_id}/listKeys")
        assert (status, body["error"]["code"]) == (401, code)
        assert headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "list_keys")
async def test_token_of_a_directory_without_business_there(
    cloud: Any, http: aiohttp.ClientSession, tenant: Any
) -> None:
    # Source: common-deployment-errors, InvalidAuthenticationTokenTenant
    stranger = str(uuid.uuid4())
    cloud.call(lambda: cloud.azure.directories.create(stranger, "stranger"))
    token = token_of(cloud, tenant, directory_id=stranger)
    status, body, _ = await send(http, token, "POST", f"{tenant.account_id}/listKeys")
    assert (status, body["error"]["code"]) == (401, "InvalidAuthenticationTokenTenant")


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "list_keys")
async def test_expired_token(cloud: Any, http: aiohttp.ClientSession, tenant: Any) -> None:
    token = token_of(cloud, tenant)
    with cloud.later(5400 + 301):
        status, body, _ = await send(http, token, "POST", f"{tenant.account_id}/listKeys")
    assert (status, body["error"]["code"]) == (401, "ExpiredAuthenticationToken")


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "list_keys")
async def test_token_outlives_its_removed_credential(cloud: Any, http: aiohttp.ClientSession, changing: Any) -> None:
    # Resource Manager takes no part in continuous access evaluation; its source:
    # learn.microsoft.com/entra/identity/conditional-access/concept-continuous-access-evaluation.
    token = token_of(cloud, changing)
    cloud.call(lambda: cloud.azure.directories.remove_credentials(changing.client_id, keep=""))
    assert (await send(http, token, "POST", f"{changing.account_id}/listKeys"))[0] == 200


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "delete_role_assignment get_account list_keys read_only_keys regenerate_key")
@pytest.mark.inferred(
    "a read-only lock above a Cosmos DB account blocks its listKeys, as documented for storage accounts"
)
async def test_a_customer_locks_its_subscription(cloud: Any, http: aiohttp.ClientSession, changing: Any) -> None:
    # Source: learn.microsoft.com/azure/azure-resource-manager/management/lock-resources, what each level forbids.
    token, account = token_of(cloud, changing), changing.account_id
    subscription = f"/subscriptions/{changing.subscription_id}"

    def lock(level: str | None) -> None:
        assert cloud.control("PUT", f"/tenants/{changing.name}/lock", {"level": level}) == (204, None)

    lock("CanNotDelete")
    lock("ReadOnly")  # in the place of the other
    assert (await send(http, token, "GET", account))[0] == 200
    status, answer, _ = await send(http, token, "POST", f"{account}/listKeys")
    assert (status, answer["error"]["code"]) == (409, "ScopeLocked")
    said = f"cannot perform write operation because following scope(s) are locked: '{subscription}'"
    assert said in answer["error"]["message"]
    assert (await send(http, token, "POST", f"{account}/regenerateKey", body={"keyKind": "primary"}))[0] == 409
    # Nothing below the right to do it: who may not is told so, lock or no lock.
    assert (await send(http, token, "POST", f"{account}/readonlykeys"))[0] == 403

    lock("CanNotDelete")
    assert (await send(http, token, "POST", f"{account}/listKeys"))[0] == 200
    grant(cloud, changing.object_id, authorization.USER_ACCESS_ADMINISTRATOR, account)
    reader = RoleAssignment(str(uuid.uuid4()), account, authorization.READER, changing.object_id)
    cloud.call(lambda: cloud.azure.authorization.assign(reader))
    path = f"{account}/providers/Microsoft.Authorization/roleAssignments/{reader.id}"
    status, answer, _ = await send(http, token, "DELETE", path, AUTHORIZATION)
    assert (status, answer["error"]["code"]) == (409, "ScopeLocked")
    assert "cannot perform delete operation" in answer["error"]["message"]
    status, answer = cloud.control("DELETE", f"/tenants/{changing.name}")
    assert (status, "locked" in answer["error"]) == (409, True)

    lock(None)
    assert (await send(http, token, "DELETE", path, AUTHORIZATION))[0] == 200
    assert cloud.control("DELETE", f"/tenants/{changing.name}")[0] == 204


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "list_keys")
@pytest.mark.inferred(
    "once a customer has deleted the application, a token of the publisher's directory is refused there with "
    "InvalidAuthenticationTokenTenant"
)
async def test_deleted_application_ends_the_publishers_access(
    cloud: Any, http: aiohttp.ClientSession, changing: Any
) -> None:
    token = token_of(cloud, changing)
    cloud.control("DELETE", f"/tenants/{changing.name}")
    status, body, _ = await send(http, token, "POST", f"{changing.account_id}/listKeys")
    assert (status, body["error"]["code"]) == (401, "InvalidAuthenticationTokenTenant")


@pytest.mark.plays("resource_manager", "list_keys")
async def test_unauthenticated_sdk_call(tenant: Any, options: dict[str, Any]) -> None:
    # Source: azure-core's AsyncARMChallengeAuthenticationPolicy: a second 401 is the caller's
    class Garbage:
        async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
            return AccessToken("garbage", 2**31)

    async with CosmosDBManagementClient(Garbage(), tenant.subscription_id, **options) as client:
        with pytest.raises(ClientAuthenticationError):
            await client.database_accounts.list_keys(tenant.resource_group, tenant.cosmos_account)
