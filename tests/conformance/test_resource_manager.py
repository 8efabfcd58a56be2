"""Resource Manager as azure-mgmt-cosmosdb and plain azure.mgmt.core pipelines meet it, and how it refuses."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.core.rest import HttpRequest
from azure.identity.aio import ClientSecretCredential
from azure.mgmt.core import AsyncARMPipelineClient
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy
from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

from infra.local.standin import authorization, publisher
from infra.local.standin.authorization import RoleAssignment
from tests.conformance.conftest import SignIn

ARM = "https://management.azure.com"
SCOPE = f"{ARM}/.default"
ACCOUNTS = "2024-11-15"
AUTHORIZATION = "2022-04-01"
SOLUTIONS = "2021-07-01"
RESOURCES = "2022-12-01"


@pytest.fixture
async def accounts(tenant: Any, daemon: ClientSecretCredential, options: dict[str, Any]) -> AsyncIterator[Any]:
    """The database accounts as the shared tenant's daemon sees them."""
    async with CosmosDBManagementClient(daemon, tenant.subscription_id, **options) as client:
        yield client.database_accounts


def token_of(cloud: Any, tenant: Any, resource: str = ARM, directory_id: str | None = None) -> str:
    """A token of the tenant's daemon, without the way through Entra, for tests of what only the stand-in offers."""
    token, _ = cloud.azure.tokens.app_token(
        directory_id or cloud.publisher_directory_id,
        resource,
        client_id=tenant.client_id,
        object_id=tenant.object_id,
        acr="1",
    )
    return str(token)


async def send(
    http: aiohttp.ClientSession, token: str, method: str, path: str, version: str = ACCOUNTS, body: Any = None
) -> tuple[int, dict[str, Any], Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with http.request(method, ARM + path, params={"api-version": version}, headers=headers, json=body) as answer:
        text = await answer.read()
        return answer.status, (await answer.json() if text else {}), answer.headers


def error_of(caught: pytest.ExceptionInfo[HttpResponseError]) -> tuple[int | None, str | None]:
    assert caught.value.error is not None
    return caught.value.status_code, caught.value.error.code


def grant(cloud: Any, principal_id: str, role_id: str, scope: str) -> None:
    assignment = RoleAssignment(str(uuid.uuid4()), scope, role_id, principal_id)
    cloud.call(lambda: cloud.azure.authorization.assign(assignment))


@pytest.mark.plays("resource_manager", "list_keys")
async def test_list_keys(accounts: Any, tenant: Any) -> None:
    # As documented at rest/api/cosmos-db-resource-provider/database-accounts/list-keys.
    keys = await accounts.list_keys(tenant.resource_group, tenant.cosmos_account)
    values = {
        keys.primary_master_key,
        keys.secondary_master_key,
        keys.primary_readonly_master_key,
        keys.secondary_readonly_master_key,
    }
    assert len(values) == 4
    assert all(len(value) == 88 for value in values)


@pytest.mark.plays("resource_manager", "get_account")
async def test_get_account(accounts: Any, tenant: Any) -> None:
    account = await accounts.get(tenant.resource_group, tenant.cosmos_account)
    assert account.id == tenant.account_id
    assert account.document_endpoint == f"https://{tenant.cosmos_account}.documents.azure.com:443/"
    assert account.disable_local_auth is False
    # Source: GET of an account; a key that was not regenerated has no generationTime
    assert account.keys_metadata.primary_master_key is None


@pytest.mark.plays("resource_manager", "list_accounts read_only_keys")
async def test_daemon_may_nothing_else_on_its_account(accounts: Any, tenant: Any) -> None:
    # The custom role of infra/managed_app/mainTemplate.json: read, listKeys, regenerateKey
    names = (tenant.resource_group, tenant.cosmos_account)

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


@pytest.mark.plays("resource_manager", "get_account get_operation list_keys regenerate_key")
async def test_regenerate_key(cloud: Any, changing: Any, options: dict[str, Any], sign_in: SignIn) -> None:
    # As documented at learn.microsoft.com/azure/azure-resource-manager/management/async-operations.
    names = (changing.resource_group, changing.cosmos_account)
    cloud.set(regenerate_seconds=0.2)
    daemon = await sign_in(changing)
    async with CosmosDBManagementClient(daemon, changing.subscription_id, **options) as client:
        accounts = client.database_accounts
        before = await accounts.list_keys(*names)
        poller = await accounts.begin_regenerate_key(*names, {"keyKind": "secondary"})
        await poller.result()
        after = await accounts.list_keys(*names)
        assert poller.status() == "Succeeded"
        assert after.secondary_master_key != before.secondary_master_key
        assert after.primary_master_key == before.primary_master_key
        metadata = (await accounts.get(*names)).keys_metadata
        assert metadata.secondary_master_key.generation_time is not None
    cloud.set()


@pytest.mark.plays("resource_manager", "get_operation regenerate_key")
async def test_operation_by_both_headers(
    cloud: Any, http: aiohttp.ClientSession, changing: Any, sign_in: SignIn
) -> None:
    # Source: learn.microsoft.com/azure/azure-resource-manager/management/async-operations
    cloud.set(regenerate_seconds=30)
    token = (await (await sign_in(changing)).get_token(SCOPE)).token
    path = f"{changing.account_id}/regenerateKey"
    status, body, _ = await send(http, token, "POST", path, body={"keyKind": "tertiary"})
    assert (status, body["error"]["code"]) == (400, "BadRequest")
    status, _, headers = await send(http, token, "POST", path, body={"keyKind": "primaryReadonly"})
    assert status == 202
    bearer = {"Authorization": f"Bearer {token}"}
    async with http.get(headers["Azure-AsyncOperation"], headers=bearer) as answer:
        assert answer.status == 200
        assert (await answer.json())["status"] not in ("Succeeded", "Failed", "Canceled")
    async with http.get(headers["Location"], headers=bearer) as answer:
        assert (answer.status, "Location" in answer.headers) == (202, True)
    cloud.set()


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "get_operation regenerate_key")
@pytest.mark.inferred("only who started a regeneration can follow it; a second one while it runs is refused with 412")
async def test_a_running_regeneration_is_its_starters_and_the_only_one(
    cloud: Any, http: aiohttp.ClientSession, changing: Any, tenant: Any
) -> None:
    cloud.set(regenerate_seconds=30)
    token, path = token_of(cloud, changing), f"{changing.account_id}/regenerateKey"
    _, _, headers = await send(http, token, "POST", path, body={"keyKind": "primary"})
    assert headers["Retry-After"] == "1"  # 0 or none would make azure-core's poller wait 30 s
    assert (await send(http, token, "POST", path, body={"keyKind": "secondary"}))[0] == 412
    other = {"Authorization": f"Bearer {token_of(cloud, tenant)}"}
    async with http.get(headers["Azure-AsyncOperation"], headers=other) as answer:
        assert answer.status == 404
    cloud.control("DELETE", f"/tenants/{changing.name}")
    url = headers["Azure-AsyncOperation"]
    async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 401  # with the application the publisher's way in is gone
    cloud.set()


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
@pytest.mark.plays("resource_manager", "get_account get_application")
async def test_what_is_not_there(cloud: Any, http: aiohttp.ClientSession, changing: Any) -> None:
    token = token_of(cloud, changing)
    group = changing.account_id.partition("/providers/")[0]
    subscription = f"/subscriptions/{changing.subscription_id}"
    grant(cloud, changing.object_id, authorization.READER, subscription)
    # Source: learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-not-found
    for path, code in (
        (f"{group}/providers/Microsoft.DocumentDB/databaseAccounts/none", "ResourceNotFound"),
        (f"{group}/providers/Microsoft.Solutions/applications/none", "ResourceNotFound"),
    ):
        status, body, _ = await send(http, token, "GET", path)
        assert (status, body["error"]["code"]) == (404, code)


@pytest.mark.plays("resource_manager", "get_account get_subscription")
async def test_requests_that_name_nothing(
    http: aiohttp.ClientSession, tenant: Any, daemon: ClientSecretCredential
) -> None:
    # As documented at learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors.
    token = (await daemon.get_token(SCOPE)).token
    status, body, _ = await send(http, token, "GET", f"/subscriptions/{uuid.uuid4()}")
    assert (status, body["error"]["code"]) == (404, "SubscriptionNotFound")
    async with http.get(ARM + tenant.account_id, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "MissingApiVersionParameter")


@pytest.mark.plays("resource_manager", "get_application list_accounts")
@pytest.mark.inferred("the principals of a definition's authorizations may read the application itself")
async def test_managed_application(
    cloud: Any,
    http: aiohttp.ClientSession,
    tenant: Any,
    control_identity: AsyncTokenCredential,
    data_identity: AsyncTokenCredential,
    options: dict[str, Any],
) -> None:
    # As documented at rest/api/managedapplications/applications/get.
    policy = AsyncARMChallengeAuthenticationPolicy(control_identity, SCOPE)
    async with AsyncARMPipelineClient(ARM, policies=[policy], **options) as client:
        request = HttpRequest("GET", f"{ARM}{tenant.application_id}", params={"api-version": SOLUTIONS})
        answer = await client.send_request(request)
        body = answer.json()
    properties = body["properties"]
    assert properties["publisherTenantId"] == cloud.publisher_directory_id
    assert properties["managedResourceGroupId"] == tenant.account_id.partition("/providers/")[0]
    assert properties["provisioningState"] == "Succeeded"
    control = (await control_identity.get_token(SCOPE)).token
    accounts = "/providers/Microsoft.DocumentDB/databaseAccounts"
    status, found, _ = await send(http, control, "GET", properties["managedResourceGroupId"] + accounts)
    assert (status, [one["id"] for one in found["value"]]) == (200, [tenant.account_id])
    # A principal that the definition's authorizations do not list sees nothing.
    data = (await data_identity.get_token(SCOPE)).token
    assert (await send(http, data, "GET", tenant.application_id, SOLUTIONS))[0] == 403
    # The customer's own group, beside the managed one, is closed to the publisher.
    own_group = tenant.application_id.partition("/providers/")[0]
    assert (await send(http, control, "GET", own_group + accounts))[0] == 403


@pytest.mark.plays("resource_manager", "get_subscription")
@pytest.mark.inferred("whoever has any role inside a subscription may read the subscription")
async def test_subscription_tells_its_directory(
    http: aiohttp.ClientSession, tenant: Any, daemon: ClientSecretCredential, data_identity: AsyncTokenCredential
) -> None:
    # As documented at rest/api/resources/subscriptions/get.
    path = f"/subscriptions/{tenant.subscription_id}"
    status, body, _ = await send(http, (await daemon.get_token(SCOPE)).token, "GET", path, RESOURCES)
    assert (status, body["tenantId"]) == (200, tenant.directory_id)
    outsider = (await data_identity.get_token(SCOPE)).token
    status, body, _ = await send(http, outsider, "GET", path, RESOURCES)
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "delete_role_assignment get_account get_role_assignment put_role_assignment")
async def test_role_assignments(cloud: Any, http: aiohttp.ClientSession, changing: Any) -> None:
    # As documented at rest/api/authorization/role-assignments/create and role-based-access-control/troubleshooting.
    token = token_of(cloud, changing)
    role = f"/subscriptions/{changing.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
    data_principal = cloud.data_identity.principal_id

    async def put(name: str, role_id: str, principal_id: str) -> tuple[int, str]:
        path = f"{changing.account_id}/providers/Microsoft.Authorization/roleAssignments/{name}"
        properties = {"roleDefinitionId": f"{role}/{role_id}", "principalId": principal_id}
        status, body, _ = await send(http, token, "PUT", path, AUTHORIZATION, {"properties": properties})
        return status, body.get("error", {}).get("code", "")

    name = str(uuid.uuid4())
    assert await put(name, authorization.READER, data_principal) == (403, "AuthorizationFailed")
    grant(cloud, changing.object_id, authorization.USER_ACCESS_ADMINISTRATOR, changing.account_id)
    assert await put(name, authorization.READER, data_principal) == (201, "")
    assert await put(name, authorization.READER, data_principal) == (200, "")
    assert await put(name, authorization.COSMOS_DB_OPERATOR, data_principal) == (
        409,
        "RoleAssignmentUpdateNotPermitted",
    )
    assert await put(str(uuid.uuid4()), authorization.READER, data_principal) == (409, "RoleAssignmentExists")
    assert await put(str(uuid.uuid4()), authorization.READER, str(uuid.uuid4())) == (400, "PrincipalNotFound")
    # A custom role belongs to one directory: the publisher's cannot be assigned in a customer's.
    foreign = cloud.azure.authorization
    custom = authorization.RoleDefinition(str(uuid.uuid4()), "custom", cloud.publisher_directory_id, actions=("*",))
    cloud.call(lambda: foreign.define(custom))
    assert await put(str(uuid.uuid4()), custom.id, data_principal) == (400, "RoleDefinitionDoesNotExist")

    data_token, _ = cloud.azure.tokens.app_token(
        cloud.publisher_directory_id, ARM, client_id="c", object_id=data_principal, acr="2"
    )
    assert (await send(http, data_token, "GET", changing.account_id))[0] == 200
    path = f"{changing.account_id}/providers/Microsoft.Authorization/roleAssignments/{name}"
    assert (await send(http, token, "GET", path, AUTHORIZATION))[1]["properties"]["principalId"] == data_principal
    assert (await send(http, token, "DELETE", path, AUTHORIZATION))[0] == 200
    assert (await send(http, token, "DELETE", path, AUTHORIZATION))[0] == 204
    assert (await send(http, token, "GET", path, AUTHORIZATION))[0] == 404
    assert (await send(http, data_token, "GET", changing.account_id))[0] == 403


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "delete_role_assignment get_account list_keys read_only_keys regenerate_key")
@pytest.mark.inferred(
    "a read-only lock above a Cosmos DB account blocks its listKeys, as documented for storage accounts"
)
async def test_locks(cloud: Any, http: aiohttp.ClientSession, changing: Any) -> None:
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


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "list_keys")
async def test_journal_and_correlation(cloud: Any, http: aiohttp.ClientSession, tenant: Any) -> None:
    _, since = cloud.journal()
    asked = str(uuid.uuid4())
    headers = {"Authorization": f"Bearer {token_of(cloud, tenant)}", "x-ms-correlation-request-id": asked}
    async with http.post(
        f"{ARM}{tenant.account_id}/listKeys", params={"api-version": ACCOUNTS}, headers=headers
    ) as answer:
        assert answer.headers["x-ms-correlation-request-id"] == asked
        assert answer.headers["x-ms-request-id"]
    assert (await send(http, token_of(cloud, tenant), "DELETE", tenant.account_id))[0] == 501
    entries, _ = cloud.journal(since)
    principal = f"app:{tenant.client_id}"
    assert [(e["operation"], e["principal"], e["target"], e["status"], e["correlation_id"]) for e in entries] == [
        ("list_keys", principal, tenant.account_id, 200, asked),
        ("unknown", "anonymous", tenant.account_id, 501, ""),
    ]


@pytest.mark.plays("resource_manager", "list_keys")
async def test_unauthenticated_sdk_call(tenant: Any, options: dict[str, Any]) -> None:
    # Source: azure-core's AsyncARMChallengeAuthenticationPolicy: a second 401 is the caller's
    class Garbage:
        async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
            return AccessToken("garbage", 2**31)

    async with CosmosDBManagementClient(Garbage(), tenant.subscription_id, **options) as client:
        with pytest.raises(ClientAuthenticationError):
            await client.database_accounts.list_keys(tenant.resource_group, tenant.cosmos_account)


@pytest.mark.standin
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "{account}"),
        ("DELETE", "{account}"),
        ("POST", "{account}/listConnectionStrings"),
        ("GET", "{account}/sqlDatabases"),
        ("GET", "{group}/providers/Microsoft.Resources/deployments/any"),
        ("GET", "/subscriptions"),
        ("GET", "{group}"),
        ("GET", "{group}/providers/Microsoft.Authorization/roleDefinitions"),
        ("GET", "{group}/providers/Microsoft.Authorization/roleAssignments"),
        ("PUT", "{group}/providers/Microsoft.Authorization/locks/freeze"),
    ],
)
@pytest.mark.not_played(
    "changing and deleting accounts, connection strings, databases and containers; deployments; resource groups; "
    "lists of subscriptions, role definitions and role assignments; resource locks, which a customer puts on its "
    "subscription by the control API; requests for JIT access to a managed application"
)
async def test_calls_that_are_not_played(
    cloud: Any, http: aiohttp.ClientSession, tenant: Any, method: str, path: str
) -> None:
    group = tenant.account_id.partition("/providers/")[0]
    wanted = path.format(account=tenant.account_id, group=group)
    status, body, _ = await send(http, token_of(cloud, tenant), method, wanted)
    assert (status, body["error"]["code"]) == (501, "NotImplemented")
