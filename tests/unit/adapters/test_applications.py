"""What registering a tenant reads from Resource Manager. The SDK runs on a fake transport."""

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError

from shared.adapters.applications import ResourceManagerApplications
from shared.core.errors import BulkheadError, Kind
from tests.fakes import CONTOSO, CONTOSO_HR
from tests.transports import FakeTransport, UnhurriedTransport

APPLICATION_ID = CONTOSO_HR.application_id
SUBSCRIPTION = "/".join(APPLICATION_ID.split("/")[:3])
GROUP = f"{SUBSCRIPTION}/resourceGroups/managed-contoso"
ACCOUNTS = f"{GROUP}/providers/Microsoft.DocumentDB/databaseAccounts"


class Identity:
    async def get_token(self, *_: Any, **__: Any) -> Any:
        return AccessToken("control-identity-token", int(time.time()) + 3600)


def account(name: str = "contoso1", **properties: Any) -> Any:
    return {
        "id": f"{ACCOUNTS}/{name}", "name": name,
        "properties": {"documentEndpoint": f"https://{name}.documents.azure.com:443/"} | properties,
    }  # fmt: skip


def azure(**answers: Any) -> Any:
    """Resource Manager; `answers` replaces what it says of an application, a subscription or its accounts."""
    good = {
        "application": (200, {"id": APPLICATION_ID, "properties": {"managedResourceGroupId": GROUP}}),
        "subscription": (200, {"tenantId": CONTOSO.upper()}),
        "accounts": (200, {"value": [account()]}),
    }
    paths = {APPLICATION_ID: "application", SUBSCRIPTION: "subscription", ACCOUNTS: "accounts"}

    def answer(request: Any) -> Any:
        url = urlsplit(request.url)
        assert url.hostname == "management.azure.com"
        assert request.headers["Authorization"] == "Bearer control-identity-token"
        given = (good | answers)[paths[url.path]]
        if isinstance(given, Exception):
            raise given
        return given

    return FakeTransport(answer)


async def describe(transport: Any) -> Any:
    return await ResourceManagerApplications(transport, Identity()).describe(APPLICATION_ID)


async def refused(**answers: Any) -> Any:
    with pytest.raises(BulkheadError) as caught:
        await describe(azure(**answers))
    return caught.value


async def test_the_directory_is_the_subscriptions_and_the_account_the_groups() -> None:
    found = await describe(azure())
    assert found.application_id == APPLICATION_ID
    assert found.directory_id == CONTOSO
    assert found.account.resource_id == f"{ACCOUNTS}/contoso1"
    assert found.account.endpoint == "https://contoso1.documents.azure.com:443/"


@pytest.mark.parametrize(
    "answers",
    [
        {"application": (404, {"error": {"code": "ApplicationNotFound"}})},
        {"application": (403, {"error": {"code": "AuthorizationFailed"}})},
        {"application": (200, {"properties": {}})},
        {"subscription": (404, {"error": {"code": "SubscriptionNotFound"}})},
        {"subscription": (200, {})},
        {"accounts": (200, {"value": []})},
        {"accounts": (200, {"value": [account(), account("other")]})},
        {"accounts": (200, {"value": [account(documentEndpoint=None)]})},
        {"accounts": (200, {"value": [account(documentEndpoint="https://forger.example/")]})},
        {"accounts": (404, {"error": {"code": "ResourceGroupNotFound"}})},
        {"accounts": (403, {"error": {"code": "AuthorizationFailed"}})},
    ],
)
async def test_what_cannot_be_registered(answers: Any) -> None:
    error = await refused(**answers)
    assert (error.kind, error.code) == (Kind.UNPROCESSABLE, "application_unusable")
    assert [field.pointer for field in error.fields] == ["/application_id"]


@pytest.mark.parametrize("what", ["application", "subscription", "accounts"])
@pytest.mark.parametrize("answer", [(500, {}), (409, {}), ServiceRequestError("no route")])
async def test_without_an_answer_it_is_to_be_tried_later(what: Any, answer: Any) -> None:
    error = await refused(**{what: answer})
    assert (error.kind, error.code, error.retry_after) == (Kind.UNAVAILABLE, "resource_manager_unavailable", 10)


async def test_a_resource_manager_that_asks_for_an_hour_keeps_nobody_waiting() -> None:
    transport = UnhurriedTransport(lambda _: (429, {}, {"Retry-After": "3600"}))
    with pytest.raises(BulkheadError) as caught:
        await ResourceManagerApplications(transport, Identity(), within=0.01).describe(APPLICATION_ID)
    assert caught.value.code == "resource_manager_unavailable"
    assert transport.slept == [3600]
