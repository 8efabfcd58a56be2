"""Resource Manager's operations as azure-mgmt-cosmosdb and plain azure.mgmt.core pipelines meet them."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.rest import HttpRequest
from azure.identity.aio import ClientSecretCredential
from azure.mgmt.core import AsyncARMPipelineClient
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy
from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

from infra.local.standin import authorization
from tests.conformance.arm import ACCOUNTS, ARM, AUTHORIZATION, SCOPE, grant, send, token_of
from tests.conformance.conftest import SignIn

SOLUTIONS = "2021-07-01"
RESOURCES = "2022-12-01"


@pytest.fixture
async def accounts(tenant: Any, daemon: ClientSecretCredential, options: dict[str, Any]) -> AsyncIterator[Any]:
    """The database accounts as the shared tenant's daemon sees them."""
    async with CosmosDBManagementClient(daemon, tenant.subscription_id, **options) as client:
        yield client.database_accounts


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


@pytest.mark.plays("resource_manager", "get_account")
@pytest.mark.inferred("Cosmos DB accounts have no ETag: no operation of azure-mgmt-cosmosdb knows one")
async def test_account_has_no_etag(accounts: Any, tenant: Any) -> None:
    # Source: azure-mgmt-cosmosdb operations/_operations.py, no If-Match
    headers: list[Any] = []
    await accounts.get(
        tenant.resource_group,
        tenant.cosmos_account,
        raw_response_hook=lambda response: headers.append(response.http_response.headers),
    )
    assert ["ETag" in one for one in headers] == [False]


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


@pytest.mark.standin
@pytest.mark.plays("resource_manager", "get_account get_application")
async def test_what_is_not_there(cloud: Any, http: aiohttp.ClientSession, changing: Any) -> None:
    token = token_of(cloud, changing)
    group = changing.account_id.partition("/providers/")[0]
    subscription = f"/subscriptions/{changing.subscription_id}"
    grant(cloud, changing.object_id, authorization.READER, subscription)
    # Source: learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-not-found
    for path, version in (
        (f"{group}/providers/Microsoft.DocumentDB/databaseAccounts/none", ACCOUNTS),
        (f"{group}/providers/Microsoft.Solutions/applications/none", SOLUTIONS),
    ):
        status, body, _ = await send(http, token, "GET", path, version)
        assert (status, body["error"]["code"]) == (404, "ResourceNotFound")


@pytest.mark.plays("resource_manager", "get_account get_subscription")
async def test_requests_that_name_nothing(
    http: aiohttp.ClientSession, tenant: Any, daemon: ClientSecretCredential
) -> None:
    # As documented at learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors.
    token = (await daemon.get_token(SCOPE)).token
    status, body, _ = await send(http, token, "GET", f"/subscriptions/{uuid.uuid4()}", RESOURCES)
    assert (status, body["error"]["code"]) == (404, "SubscriptionNotFound")
    async with http.get(ARM + tenant.account_id, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "MissingApiVersionParameter")


@pytest.mark.standin
@pytest.mark.not_played("other api-versions than those that Bulkhead and its SDKs send")
async def test_another_version_than_bulkheads(cloud: Any, http: aiohttp.ClientSession, tenant: Any) -> None:
    assignment = f"{tenant.account_id}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    for path in (tenant.account_id, tenant.application_id, assignment, f"/subscriptions/{tenant.subscription_id}"):
        status, _, _ = await send(http, token_of(cloud, tenant), "GET", path, version="2024-11-16")
        assert status == 501


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
