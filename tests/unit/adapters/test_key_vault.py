import time
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from shared.access.failures import AccessError, Failure
from shared.access.models import CredentialName
from shared.adapters.key_vault import KeyVault
from tests.transports import FakeTransport

VAULT = "https://bulkhead-kv.vault.azure.net"
NAME = CredentialName(kind="secret", vault=VAULT, name="daemon-contoso")
CANARY = "Zq7-client-secret"
DIRECTORY = "https://login.microsoftonline.com/0f000000-0000-4000-8000-000000000001"
CHALLENGE = {"WWW-Authenticate": f'Bearer authorization="{DIRECTORY}", resource="https://vault.azure.net"'}


class Identity:
    """The managed identity."""

    def __init__(self, error: Any = None) -> None:
        self.scopes = []
        self._error = error

    async def get_token(self, *scopes: Any, **_: Any) -> Any:
        self.scopes.append(scopes)
        if self._error is not None:
            raise self._error
        return AccessToken("managed-identity-token", int(time.time()) + 3600)


def secret(value: Any = CANARY, content_type: Any = None) -> Any:
    attributes = {"enabled": True, "created": 1, "updated": 1}
    body = {"value": value, "id": f"{VAULT}/secrets/daemon-contoso/v1", "attributes": attributes}
    return body | ({} if content_type is None else {"contentType": content_type})


def vault(status: int = 200, body: Any = None, headers: Any = None) -> Any:
    def answer(request: Any) -> Any:
        if "Authorization" not in request.headers:
            return 401, {"error": {"code": "Unauthorized"}}, CHALLENGE
        return status, body, headers or {}

    return FakeTransport(answer)


async def refused(transport: Any, name: str = NAME, identity: Any = None, *, federated: bool = True) -> Any:
    with pytest.raises(AccessError) as caught:
        await KeyVault(transport, identity or Identity(), federated=federated).read(name)
    assert caught.value.step == 1
    assert CANARY not in str(caught.value)
    return caught.value


async def test_the_newest_version_is_read_with_the_managed_identity() -> None:
    transport = vault(body=secret())
    credential = await KeyVault(transport, Identity(), federated=False).read(NAME)
    assert (credential.form, credential.value.reveal()) == ("client_secret", CANARY)
    read = transport.requests[-1]
    assert read.url.startswith(f"{VAULT}/secrets/daemon-contoso")
    assert read.headers["Authorization"] == "Bearer managed-identity-token"


@pytest.mark.parametrize(
    ("kind", "content_type", "form"),
    [
        ("secret", None, "client_secret"),
        ("secret", "text/plain", "client_secret"),
        ("secret", "application/x-pem-file", "pem"),  # rotated into a certificate
        ("certificate", "application/x-pem-file", "pem"),
        ("certificate", "application/x-pkcs12", "pkcs12"),
        ("certificate", "Application/X-PKCS12", "pkcs12"),
    ],
)
async def test_the_content_type_tells_what_it_holds(kind: Any, content_type: Any, form: Any) -> None:
    name = CredentialName(kind=kind, vault=VAULT, name="daemon-contoso")
    transport = vault(body=secret(content_type=content_type))
    assert (await KeyVault(transport, Identity(), federated=False).read(name)).form == form


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("secret", secret(content_type="application/json")), ("certificate", secret()), ("secret", secret(value="")),
        ("secret", secret(value=None)),
    ],
)  # fmt: skip
async def test_what_is_no_credential_is_a_mistake_of_an_operator(kind: Any, body: Any) -> None:
    name = CredentialName(kind=kind, vault=VAULT, name="daemon-contoso")
    assert (await refused(vault(body=body), name)).failure is Failure.MISCONFIGURED


@pytest.mark.parametrize(
    ("status", "failure"),
    [(403, Failure.DENIED), (404, Failure.NOT_FOUND), (429, Failure.THROTTLED), (503, Failure.TRANSIENT)],
)
async def test_refusals(status: int, failure: Any) -> None:
    error = await refused(vault(status, {"error": {"code": "x", "message": CANARY}}, {"Retry-After": "3"}))
    assert (error.failure, error.status, error.retry_after) == (failure, status, 3)


async def test_a_lost_connection_and_an_identity_that_is_not_there() -> None:
    def lost(_: Any) -> None:
        raise ServiceRequestError("no route")

    assert (await refused(FakeTransport(lost))).failure is Failure.TRANSIENT
    missing = Identity(ClientAuthenticationError("no identity"))
    assert (await refused(vault(body=secret()), identity=missing)).failure is Failure.TRANSIENT


async def test_nothing_is_kept_between_reads() -> None:
    values = iter(["first", "second"])
    transport = vault()
    transport._answer = lambda request: (
        (200, secret(next(values))) if "Authorization" in request.headers else (401, {}, CHALLENGE)
    )
    keys = KeyVault(transport, Identity(), federated=False)
    assert [(await keys.read(NAME)).value.reveal() for _ in range(2)] == ["first", "second"]


async def test_a_federated_daemon_needs_no_vault() -> None:
    identity, transport = Identity(), vault()
    credential = await KeyVault(transport, identity, federated=True).read(CredentialName(kind="federated"))
    assert (credential.form, credential.value.reveal()) == ("assertion", "managed-identity-token")
    assert identity.scopes == [("api://AzureADTokenExchange/.default",)]
    assert transport.requests == []
    failing = Identity(ClientAuthenticationError("no identity"))
    assert (await refused(vault(), CredentialName(kind="federated"), failing)).failure is Failure.TRANSIENT


async def test_a_federated_daemon_is_not_taken_on_where_the_deployment_does_not_allow_it() -> None:
    """Whatever the registry says: it may be an old entry, or somebody else's word."""
    identity = Identity()
    error = await refused(vault(), CredentialName(kind="federated"), identity, federated=False)
    assert (error.failure, identity.scopes) == (Failure.MISCONFIGURED, [])
