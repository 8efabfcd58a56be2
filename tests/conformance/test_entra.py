"""Entra ID as azure-identity meets it, asynchronous and synchronous, and how it refuses."""

import base64
import time
import uuid
from typing import Any

import aiohttp
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential as SyncCertificateCredential
from azure.identity import ClientSecretCredential as SyncSecretCredential
from azure.identity.aio import CertificateCredential, ClientSecretCredential
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import NoEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from infra.local.standin.certificates import SelfSigned
from tests.conformance.cloud import Application, Cloud

ARM = "https://management.azure.com/.default"
LOGIN = "https://login.microsoftonline.com"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def application(cloud: Cloud) -> Application:
    return cloud.application()


@pytest.fixture
def secret(application: Application) -> str:
    return application.client_secret


@pytest.fixture
def certificate(application: Application) -> bytes:
    """A registered certificate with its key, in PEM."""
    return application.certificate.encode()


async def ask(http: aiohttp.ClientSession, directory_id: str, **form: str) -> tuple[int, dict[str, Any]]:
    async with http.post(f"{LOGIN}/{directory_id}/oauth2/v2.0/token", data=form) as answer:
        return answer.status, await answer.json()


def form(client_id: str, **fields: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "client_id": client_id, "scope": ARM} | fields


def thumbprint(pem: bytes, kind: hashes.HashAlgorithm) -> str:
    return base64.urlsafe_b64encode(load_pem_x509_certificate(pem).fingerprint(kind)).decode()


def assertion(pem: bytes, client_id: str, directory_id: str, **changes: Any) -> str:
    """An assertion as learn.microsoft.com/entra/identity-platform/certificate-credentials describes it."""
    now = int(time.time())
    claims = {
        "aud": f"{LOGIN}/{directory_id}/oauth2/v2.0/token",
        "iss": client_id,
        "sub": client_id,
        "jti": str(uuid.uuid4()),
        "nbf": now,
        "exp": now + 600,
    }
    headers = {"x5t#S256": thumbprint(pem, hashes.SHA256())}
    return jwt.encode(claims | changes, load_pem_private_key(pem, None), algorithm="PS256", headers=headers)


@pytest.mark.plays("entra", "issue_token jwks openid_configuration")
async def test_token_is_verifiable_with_published_keys(
    cloud: Any, http: aiohttp.ClientSession, application: Application, secret: str, options: dict[str, Any]
) -> None:
    # The steps are those of learn.microsoft.com/entra/identity-platform/access-tokens, section on validation.
    directory_id = cloud.publisher_directory_id
    async with ClientSecretCredential(directory_id, application.client_id, secret, **options) as credential:
        token = (await credential.get_token(ARM)).token
    async with http.get(f"{LOGIN}/{directory_id}/v2.0/.well-known/openid-configuration") as answer:
        discovery = await answer.json()
    assert discovery["issuer"] == f"{LOGIN}/{directory_id}/v2.0"
    async with http.get(discovery["jwks_uri"]) as answer:
        jwks = jwt.PyJWKSet.from_dict(await answer.json())
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, jwks[header["kid"]], algorithms=["RS256"], audience="https://management.azure.com")
    # Resource Manager takes v1.0 tokens; source: access-token-claims-reference.
    assert claims["iss"] == f"https://sts.windows.net/{directory_id}/"
    assert claims["ver"] == "1.0"
    assert claims["appid"] == application.client_id
    assert claims["appidacr"] == "1"
    assert claims["idtyp"] == "app"
    assert claims["oid"] == claims["sub"] == application.object_id
    # Source: learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes: 60 to 90 minutes.
    assert 3599 <= claims["exp"] - claims["iat"] <= 5400


@pytest.mark.parametrize("place", ["common", "organizations", None])
@pytest.mark.plays("entra", "jwks")
async def test_keys_are_published_for_all_and_for_one_directory(
    cloud: Any, http: aiohttp.ClientSession, place: str | None
) -> None:
    async with http.get(f"{LOGIN}/{place or cloud.publisher_directory_id}/discovery/v2.0/keys") as answer:
        (key,) = (await answer.json())["keys"]
    # Source: the real document at login.microsoftonline.com/common/discovery/v2.0/keys
    assert {"kty", "use", "kid", "n", "e", "issuer"} <= key.keys()
    tenant = cloud.publisher_directory_id if place is None else "{tenantid}"
    assert key["issuer"] == f"{LOGIN}/{tenant}/v2.0"


@pytest.mark.plays("entra", "issue_token openid_configuration")
def test_synchronous_secret_credential(cloud: Any, application: Application, secret: str) -> None:
    # Through MSAL, too; azure/identity/_credentials/client_secret.py.
    with SyncSecretCredential(cloud.publisher_directory_id, application.client_id, secret) as credential:
        assert credential.get_token(ARM).expires_on > time.time() + 3500


@pytest.mark.parametrize("form_of_key", ["pem", "pkcs12"])
@pytest.mark.plays("entra", "issue_token")
async def test_certificate_credential(
    cloud: Any,
    application: Application,
    certificate: bytes,
    options: dict[str, Any],
    form_of_key: str,
) -> None:
    # PS256 with x5t#S256; source: azure/identity/_internal/aad_client_base.py
    data = certificate
    if form_of_key == "pkcs12":
        key, own = load_pem_private_key(certificate, None), load_pem_x509_certificate(certificate)
        data = pkcs12.serialize_key_and_certificates(None, key, own, None, NoEncryption())
    async with CertificateCredential(
        cloud.publisher_directory_id, application.client_id, certificate_data=data, **options
    ) as credential:
        token = (await credential.get_token(ARM)).token
    assert jwt.decode(token, options={"verify_signature": False})["appidacr"] == "2"


@pytest.mark.plays("entra", "issue_token openid_configuration")
def test_synchronous_certificate_credential(cloud: Any, application: Application, certificate: bytes) -> None:
    # Through MSAL, which asks for openid-configuration first; source: msal/application.py
    with SyncCertificateCredential(
        cloud.publisher_directory_id, application.client_id, certificate_data=certificate
    ) as credential:
        assert credential.get_token(ARM).token


@pytest.mark.plays("entra", "issue_token")
async def test_rs256_assertion_named_by_x5t(
    cloud: Any, http: aiohttp.ClientSession, application: Application, certificate: bytes
) -> None:
    # Source: certificate-credentials, header of the assertion before x5t#S256
    claims = jwt.decode(
        assertion(certificate, application.client_id, cloud.publisher_directory_id), options={"verify_signature": False}
    )
    headers = {"x5t": thumbprint(certificate, hashes.SHA1())}  # noqa: S303 - x5t is SHA-1 by RFC 7515
    signed = jwt.encode(claims, load_pem_private_key(certificate, None), algorithm="RS256", headers=headers)
    status, _ = await ask(
        http,
        cloud.publisher_directory_id,
        **form(application.client_id, client_assertion_type=ASSERTION_TYPE, client_assertion=signed),
    )
    assert status == 200


@pytest.mark.plays("entra", "issue_token")
async def test_wrong_secret_as_the_sdk_shows_it(cloud: Any, application: Application, options: dict[str, Any]) -> None:
    # learn.microsoft.com/entra/identity-platform/reference-error-codes, AADSTS7000215.
    async with ClientSecretCredential(
        cloud.publisher_directory_id, application.client_id, "wrong", **options
    ) as credential:
        with pytest.raises(ClientAuthenticationError, match="AADSTS7000215") as caught:
            await credential.get_token(ARM)
    assert caught.value.status_code == 401


# Sources of codes: learn.microsoft.com/entra/identity-platform/reference-error-codes; of statuses and `error`:
# v2-oauth2-client-creds-grant-flow#error-response and RFC 6749, section 5.2.
@pytest.mark.parametrize(
    ("fields", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({}, 401, "invalid_client", 7000218),
        ({"client_secret": "x", "client_id": str(uuid.uuid4())}, 400, "unauthorized_client", 700016),
        ({"client_secret": "x", "client_id": ""}, 400, "invalid_request", 900144),
        ({"client_secret": "x", "grant_type": ""}, 400, "invalid_request", 900144),
        ({"client_secret": "x", "grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"client_assertion": "x.y.z", "client_assertion_type": ASSERTION_TYPE}, 400, "invalid_request", 50027),
    ],
)
@pytest.mark.plays("entra", "issue_token")
async def test_refusals(
    cloud: Any,
    http: aiohttp.ClientSession,
    application: Application,
    fields: dict[str, str],
    status: int,
    error: str,
    code: int,
) -> None:
    got, body = await ask(http, cloud.publisher_directory_id, **form(application.client_id) | fields)
    assert (got, body["error"], body["error_codes"]) == (status, error, [code])
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert {"timestamp", "trace_id", "correlation_id", "error_uri"} <= body.keys()


@pytest.mark.parametrize(
    ("scope", "error", "code"),
    [
        ("", "invalid_request", 900144),
        ("https://management.azure.com/user_impersonation", "invalid_scope", 1002012),
        (f"{ARM} https://vault.azure.net/.default", "invalid_scope", 1002012),
        ("https://unknown.example/.default", "invalid_resource", 500011),
        ("https://no-such-account.documents.azure.com/.default", "invalid_resource", 500011),
    ],
)
@pytest.mark.plays("entra", "issue_token")
async def test_refused_scopes(
    cloud: Any,
    http: aiohttp.ClientSession,
    application: Application,
    secret: str,
    scope: str,
    error: str,
    code: int,
) -> None:
    # learn.microsoft.com/entra/identity-platform/reference-error-codes: AADSTS900144, 1002012, 500011.
    got, body = await ask(
        http, cloud.publisher_directory_id, **form(application.client_id, client_secret=secret, scope=scope)
    )
    assert (got, body["error"], body["error_codes"]) == (400, error, [code])


@pytest.mark.plays("entra", "issue_token openid_configuration")
async def test_unknown_directory(http: aiohttp.ClientSession) -> None:
    # learn.microsoft.com/entra/identity-platform/reference-error-codes, AADSTS90002.
    unknown = str(uuid.uuid4())
    status, body = await ask(http, unknown, **form(str(uuid.uuid4()), client_secret="x"))
    assert (status, body["error_codes"]) == (400, [90002])
    async with http.get(f"{LOGIN}/{unknown}/v2.0/.well-known/openid-configuration") as answer:
        assert answer.status == 400


@pytest.mark.plays("entra", "issue_token")
async def test_application_is_unknown_in_another_directory(
    http: aiohttp.ClientSession, application: Application, secret: str, tenant: Any
) -> None:
    # learn.microsoft.com/entra/identity-platform/reference-error-codes, AADSTS700016.
    status, body = await ask(http, tenant.directory_id, **form(application.client_id, client_secret=secret))
    assert (status, body["error_codes"]) == (400, [700016])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": f"{LOGIN}/{uuid.uuid4()}/oauth2/v2.0/token"}, 700023),
        ({"sub": str(uuid.uuid4())}, 700021),
        ({"nbf": int(time.time()) - 4000, "exp": int(time.time()) - 400}, 700024),
        ({"nbf": int(time.time()) + 4000, "exp": int(time.time()) + 5000}, 700024),
    ],
)
@pytest.mark.plays("entra", "issue_token")
async def test_refused_assertions(
    cloud: Any,
    http: aiohttp.ClientSession,
    application: Application,
    certificate: bytes,
    changes: dict[str, Any],
    code: int,
) -> None:
    # learn.microsoft.com/entra/identity-platform/reference-error-codes: AADSTS700021, 700023, 700024.
    signed = assertion(certificate, application.client_id, cloud.publisher_directory_id, **changes)
    status, body = await ask(
        http,
        cloud.publisher_directory_id,
        **form(application.client_id, client_assertion_type=ASSERTION_TYPE, client_assertion=signed),
    )
    assert (status, body["error"], body["error_codes"]) == (401, "invalid_client", [code])


@pytest.mark.plays("entra", "issue_token")
async def test_assertion_by_an_unregistered_key(
    cloud: Any, http: aiohttp.ClientSession, application: Application, certificate: bytes
) -> None:
    # Source of the code: reference-error-codes, AADSTS700027
    stranger = SelfSigned("stranger").pem().encode()
    signed = assertion(stranger, application.client_id, cloud.publisher_directory_id)
    # The same, but under the registered certificate's thumbprint: the signature gives it away.
    pretended = jwt.encode(
        jwt.decode(signed, options={"verify_signature": False}),
        load_pem_private_key(stranger, None),
        algorithm="PS256",
        headers={"x5t#S256": thumbprint(certificate, hashes.SHA256())},
    )
    for attempt in (signed, pretended):
        status, body = await ask(
            http,
            cloud.publisher_directory_id,
            **form(application.client_id, client_assertion_type=ASSERTION_TYPE, client_assertion=attempt),
        )
        assert (status, body["error"], body["error_codes"]) == (401, "invalid_client", [700027])


@pytest.mark.standin
@pytest.mark.plays("entra", "issue_token")
async def test_two_secrets_until_one_is_removed(
    cloud: Any, http: aiohttp.ClientSession, application: Application, secret: str
) -> None:
    # Source: learn.microsoft.com/entra/identity-platform/how-to-add-credentials: several at once
    directories = cloud.azure.directories
    key_id, newer = cloud.call(lambda: directories.add_secret(application.client_id))
    for value in (secret, newer):
        status, _ = await ask(http, cloud.publisher_directory_id, **form(application.client_id, client_secret=value))
        assert status == 200
    cloud.call(lambda: directories.remove_credentials(application.client_id, keep=key_id))
    statuses = [
        (await ask(http, cloud.publisher_directory_id, **form(application.client_id, client_secret=value)))[0]
        for value in (secret, newer)
    ]
    assert statuses == [401, 200]


@pytest.mark.standin
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "oauth2/v2.0/authorize"),
        ("POST", "oauth2/v2.0/devicecode"),
        ("POST", "oauth2/token"),
        ("GET", "discovery/instance"),
    ],
)
@pytest.mark.not_played(
    "signing in of users, refreshing, on-behalf-of, device codes, the v1.0 endpoint, instance discovery (MSAL does not "
    "ask for it at this host), conditional access"
)
async def test_calls_that_are_not_played(cloud: Any, http: aiohttp.ClientSession, method: str, path: str) -> None:
    async with http.request(method, f"{LOGIN}/{cloud.publisher_directory_id}/{path}") as answer:
        assert (answer.status, (await answer.json())["error"]) == (501, "not_implemented")


@pytest.mark.standin
@pytest.mark.plays("entra", "issue_token")
async def test_expired_secret(cloud: Any, http: aiohttp.ClientSession, application: Application, secret: str) -> None:
    with cloud.later(366 * 86_400):
        status, body = await ask(
            http, cloud.publisher_directory_id, **form(application.client_id, client_secret=secret)
        )
    assert (status, body["error"], body["error_codes"]) == (401, "invalid_client", [7000222])


@pytest.mark.standin
@pytest.mark.plays("entra", "issue_token")
async def test_journal_and_correlation(
    cloud: Any, http: aiohttp.ClientSession, application: Application, secret: str
) -> None:
    _, since = cloud.journal()
    asked = str(uuid.uuid4())
    async with http.post(
        f"{LOGIN}/{cloud.publisher_directory_id}/oauth2/v2.0/token",
        data=form(application.client_id, client_secret=secret),
        headers={"client-request-id": asked},
    ) as answer:
        assert answer.headers["client-request-id"] == asked
    async with http.get(f"{LOGIN}/{cloud.publisher_directory_id}/oauth2/v2.0/authorize") as answer:
        assert answer.status == 501
    entries, _ = cloud.journal(since)
    client_id = application.client_id
    assert [(e["operation"], e["principal"], e["target"], e["status"], e["correlation_id"]) for e in entries] == [
        ("issue_token", f"app:{client_id}", f"{cloud.publisher_directory_id}/{client_id}", 200, asked),
        ("unknown", "anonymous", cloud.publisher_directory_id, 501, ""),
    ]


@pytest.mark.standin
@pytest.mark.plays("managed_identity", "issue_token")
async def test_managed_identity_refusals(cloud: Any, http: aiohttp.ClientSession) -> None:
    # Source: learn.microsoft.com/azure/app-service/overview-managed-identity and how MSAL reads `statusCode`
    url, header = cloud.endpoints.env["IDENTITY_ENDPOINT"], cloud.endpoints.env["IDENTITY_HEADER"]
    good = {
        "api-version": "2019-08-01",
        "resource": "https://vault.azure.net",
        "client_id": cloud.data_identity.client_id,
    }
    for secret, changes, status in (
        (header, {}, 200),
        ("wrong", {}, 401),
        (header, {"client_id": str(uuid.uuid4())}, 400),
        (header, {"api-version": "2017-09-01"}, 400),
        (header, {"resource": "https://unknown.example"}, 400),
    ):
        async with http.get(url, params=good | changes, headers={"X-IDENTITY-HEADER": secret}) as answer:
            assert answer.status == status
            body = await answer.json()
            assert status == 200 or body["statusCode"] == status
