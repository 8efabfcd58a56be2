"""Azure's budgets and the delays until changes are known everywhere, which are switched on by settings."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import aiohttp
import jwt
import pytest
from azure.core.exceptions import HttpResponseError
from azure.identity.aio import CertificateCredential, ClientSecretCredential
from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

from infra.local.standin import authorization
from infra.local.standin.stand_in import StandIn
from infra.local.standin.wire import FaultRule
from tests.conformance.arm import AUTHORIZATION, SCOPE, grant, send, token_of
from tests.conformance.conftest import SignIn

LOGIN = "https://login.microsoftonline.com"
pytestmark = pytest.mark.standin


@pytest.fixture(autouse=True)
def default_settings(cloud: Any) -> Iterator[None]:
    yield
    cloud.set()


async def issue(http: aiohttp.ClientSession, cloud: Any, client_id: str, secret: str) -> tuple[int, str, Any]:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "scope": SCOPE}
    async with http.post(f"{LOGIN}/{cloud.publisher_directory_id}/oauth2/v2.0/token", data=form) as answer:
        return answer.status, await answer.text(), answer.headers


@pytest.mark.plays("entra", "issue_token")
@pytest.mark.inferred("how many tokens a minute Entra ID issues to one application; Azure publishes no number")
async def test_tokens_of_one_application(cloud: Any, http: aiohttp.ClientSession) -> None:
    # Source of status, text and Retry-After: github.com/AzureAD/microsoft-authentication-library-for-dotnet/issues/2855
    one, other = cloud.application(), cloud.application()
    cloud.set(entra_budget=2)
    for _ in range(3):
        assert (await issue(http, cloud, one.client_id, "wrong"))[0] == 401  # counts nothing
    answers = [await issue(http, cloud, one.client_id, one.client_secret) for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 200, 429, 429]
    assert (answers[2][1], answers[2][2]["Retry-After"]) == ("Too Many Requests", "60")
    assert (await issue(http, cloud, other.client_id, other.client_secret))[0] == 200
    with cloud.later(61):
        assert (await issue(http, cloud, one.client_id, one.client_secret))[0] == 200


@pytest.mark.plays("resource_manager", "get_account list_keys")
@pytest.mark.inferred("a POST such as listKeys takes from the bucket of writes")
async def test_buckets_of_resource_manager(
    cloud: Any, http: aiohttp.ClientSession, changing: Any, tenant: Any, sign_in: SignIn
) -> None:
    # Source: learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling: 200 writes
    # and 10 more a second, 250 reads and 25 more a second, for one principal in one subscription; the headers.
    token = (await (await sign_in(changing)).get_token(SCOPE)).token
    cloud.set(resource_manager_budgets=True)
    path = f"{changing.account_id}/listKeys"
    with cloud.still():
        answers = await asyncio.gather(*(send(http, token, "POST", path) for _ in range(201)))
        granted = [headers for status, _, headers in answers if status == 200]
        left = {int(headers["x-ms-ratelimit-remaining-subscription-writes"]) for headers in granted}
        assert left == set(range(200))
        ((body, headers),) = [(body, headers) for status, body, headers in answers if status == 429]
        assert body["error"]["code"] == "SubscriptionRequestsThrottled"
        assert (headers["Retry-After"], headers["x-ms-ratelimit-remaining-subscription-writes"]) == ("1", "0")
        # Reads, other principals and other subscriptions have buckets of their own.
        _, _, headers = await send(http, token, "GET", changing.account_id)
        assert headers["x-ms-ratelimit-remaining-subscription-reads"] == "249"
    other = (await (await sign_in(tenant)).get_token(SCOPE)).token
    assert (await send(http, other, "POST", f"{tenant.account_id}/listKeys"))[0] == 200
    with cloud.later(30):
        _, _, headers = await send(http, token, "POST", path)
        assert headers["x-ms-ratelimit-remaining-subscription-writes"] == "199"


@pytest.mark.plays("resource_manager", "list_keys")
async def test_readings_of_an_accounts_keys(cloud: Any, http: aiohttp.ClientSession, changing: Any) -> None:
    # Sources: learn.microsoft.com/azure/cosmos-db/concepts-limits, List/Get Keys 500 per 5 minutes and account;
    # github.com/Azure/azqr/issues/34, the words.
    token = token_of(cloud, changing)
    path = f"{changing.account_id}/listKeys"
    cloud.set(list_keys_budget=2)
    answers = [await send(http, token, "POST", path) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert answers[2][1]["error"]["code"] == "ResourceRequestsThrottled"
    assert 290 <= int(answers[2][2]["Retry-After"]) <= 300
    with cloud.later(301):
        assert (await send(http, token, "POST", path))[0] == 200


@pytest.mark.plays("resource_manager", "list_keys put_role_assignment")
async def test_a_role_is_in_force_later(
    cloud: Any, http: aiohttp.ClientSession, changing: Any, options: dict[str, Any]
) -> None:
    # Source: learn.microsoft.com/azure/role-based-access-control/troubleshooting: up to 10 minutes
    application = cloud.application()
    cloud.call(lambda: cloud.azure.directories.add_member(cloud.daemons_group_id, application.object_id))
    grant(cloud, changing.object_id, authorization.USER_ACCESS_ADMINISTRATOR, changing.account_id)
    token = token_of(cloud, changing)
    cloud.set(role_delay_seconds=600)
    role = f"/subscriptions/{changing.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
    role_id = f"{role}/{authorization.DOCUMENTDB_ACCOUNT_CONTRIBUTOR}"
    path = f"{changing.account_id}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    body = {"properties": {"roleDefinitionId": role_id, "principalId": application.object_id}}
    assert (await send(http, token, "PUT", path, AUTHORIZATION, body))[0] == 201
    names = (changing.resource_group, changing.cosmos_account)
    async with (
        ClientSecretCredential(
            cloud.publisher_directory_id, application.client_id, application.client_secret, **options
        ) as credential,
        CosmosDBManagementClient(credential, changing.subscription_id, **options) as client,
    ):
        with pytest.raises(HttpResponseError) as caught:
            await client.database_accounts.list_keys(*names)
        assert caught.value.error.code == "AuthorizationFailed"
        with cloud.later(500):
            assert (await send(http, token, "PUT", path, AUTHORIZATION, body))[0] == 200  # again changes nothing
        with cloud.later(601):
            assert (await client.database_accounts.list_keys(*names)).primary_master_key


@pytest.mark.plays("entra", "issue_token")
@pytest.mark.inferred("a credential or application that is not known yet is refused like a wrong or unknown one")
async def test_new_applications_and_credentials_are_known_later(
    cloud: Any, http: aiohttp.ClientSession, options: dict[str, Any]
) -> None:
    # Source: learn.microsoft.com/azure/role-based-access-control/troubleshooting, replication of new principals
    known = cloud.application()
    cloud.set(credential_delay_seconds=120)
    fresh = cloud.application()
    _, second = cloud.call(lambda: cloud.azure.directories.add_secret(known.client_id))

    async def codes() -> list[str]:
        answers = [
            await issue(http, cloud, known.client_id, known.client_secret),
            await issue(http, cloud, known.client_id, second),
            await issue(http, cloud, fresh.client_id, fresh.client_secret),
        ]
        return ["" if status == 200 else text.partition("AADSTS")[2].partition(":")[0] for status, text, _ in answers]

    assert await codes() == ["", "7000215", "700016"]
    assert not cloud.azure.directories.has_principal(fresh.object_id, cloud.publisher_directory_id)
    async with CertificateCredential(
        cloud.publisher_directory_id, fresh.client_id, certificate_data=fresh.certificate.encode(), **options
    ) as credential:
        with pytest.raises(HttpResponseError, match="AADSTS700016"):
            await credential.get_token(SCOPE)
        with cloud.later(121):
            assert await codes() == ["", "", ""]
            assert cloud.azure.directories.has_principal(fresh.object_id, cloud.publisher_directory_id)
            token = (await credential.get_token(SCOPE)).token
    assert jwt.decode(token, options={"verify_signature": False})["appid"] == fresh.client_id


@pytest.mark.parametrize("settings", [{"entra_bugdet": 1}, {"entra_budget": 0}, {"role_delay_seconds": -1}, []])
def test_settings_that_make_no_sense_are_refused(cloud: Any, settings: Any) -> None:
    status, answer = cloud.control("PUT", "/settings", settings)
    assert (status, answer.keys()) == (400, {"error"})


def test_settings_and_weather_outlive_a_restart(cloud: Any) -> None:
    cloud.set(entra_budget=7, regenerate_seconds=1.5)
    cloud.control("PUT", "/latency", {"entra": 5})
    cloud.control("PUT", "/faults", {"rules": [{"service": "entra", "status": 500, "times": 0}]})
    again = cloud.call(lambda: StandIn(cloud.state))
    try:
        assert (again.world.settings.entra_budget, again.world.settings.regenerate_seconds) == (7, 1.5)
        assert again.world.settings.list_keys_budget is None
        assert again.world.weather.latency_ms == {"entra": 5}
        assert again.world.weather.rules == [FaultRule("entra", status=500, times=0)]
    finally:
        cloud.call(again.world.storage.close)
        cloud.control("DELETE", "/faults")
        cloud.control("PUT", "/latency", {})
