"""Key Vault's secrets as azure-keyvault-secrets meets them, and how the vault refuses."""

import base64
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity.aio import CertificateCredential, ClientSecretCredential, ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient as SyncSecretClient
from azure.keyvault.secrets.aio import SecretClient

VAULT = "https://vault.azure.net/.default"
ARM = "https://management.azure.com/.default"


@pytest.fixture
async def vault(
    cloud: Any, control_identity: AsyncTokenCredential, options: dict[str, Any]
) -> AsyncIterator[SecretClient]:
    """The vault as the control plane's identity sees it, which may do everything but purge."""
    async with SecretClient(cloud.vault_url, control_identity, **options) as client:
        yield client


@pytest.fixture
async def reader(
    cloud: Any, data_identity: AsyncTokenCredential, options: dict[str, Any]
) -> AsyncIterator[SecretClient]:
    """The vault as the data plane's identity sees it, which may only get."""
    async with SecretClient(cloud.vault_url, data_identity, **options) as client:
        yield client


def new_name() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.mark.plays("key_vault", "get_secret list_secret_versions set_secret")
async def test_versions(vault: SecretClient) -> None:
    # Source: learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates, versions
    name = new_name()
    first = await vault.set_secret(name, "one", content_type="text/plain", tags={"a": "b"})
    second = await vault.set_secret(name, "two")
    latest = await vault.get_secret(name)
    assert (latest.value, latest.properties.version) == ("two", second.properties.version)
    older = await vault.get_secret(name, first.properties.version)
    assert (older.value, older.properties.content_type, older.properties.tags) == ("one", "text/plain", {"a": "b"})
    assert older.properties.enabled
    assert older.properties.created_on == first.properties.created_on
    versions = [one.version async for one in vault.list_properties_of_secret_versions(name)]
    assert sorted(map(str, versions)) == sorted([str(first.properties.version), str(second.properties.version)])


@pytest.mark.plays("key_vault", "get_secret set_secret")
@pytest.mark.inferred("secrets have no ETag: no operation of azure-keyvault-secrets knows one, versions take its place")
async def test_secret_has_no_etag(vault: SecretClient) -> None:
    # Source: azure-keyvault-secrets _generated/_operations/_operations.py, no If-Match
    name, headers = new_name(), list[Any]()
    await vault.set_secret(name, "one")
    await vault.get_secret(name, raw_response_hook=lambda response: headers.append(response.http_response.headers))
    assert ["ETag" in one for one in headers] == [False]


@pytest.mark.plays("key_vault", "get_secret set_secret")
async def test_secret_that_is_not_there(vault: SecretClient) -> None:
    name = new_name()
    with pytest.raises(ResourceNotFoundError) as caught:
        await vault.get_secret(name)
    assert caught.value.error.code == "SecretNotFound"  # source: rest/api/keyvault, error of Get Secret
    await vault.set_secret(name, "one")
    with pytest.raises(ResourceNotFoundError):
        await vault.get_secret(name, uuid.uuid4().hex)


@pytest.mark.plays("key_vault", "get_secret set_secret update_secret")
async def test_disabled_secret(vault: SecretClient) -> None:
    # Source: learn.microsoft.com/azure/key-vault/general/rest-error-codes, HTTP 403 and SecretDisabled
    name = new_name()
    version = (await vault.set_secret(name, "one")).properties.version
    await vault.update_secret_properties(name, version, enabled=False)
    with pytest.raises(HttpResponseError) as caught:
        await vault.get_secret(name)
    assert caught.value.status_code == 403
    assert caught.value.error.innererror["code"] == "SecretDisabled"
    await vault.update_secret_properties(name, enabled=True, content_type="changed")
    assert (await vault.get_secret(name)).properties.content_type == "changed"


@pytest.mark.plays("key_vault", "get_secret set_secret update_secret")
async def test_times_of_a_secret_are_kept_and_refuse_nothing(vault: SecretClient) -> None:
    # Source: learn.microsoft.com/azure/key-vault/secrets/about-secrets, date-time controlled operations
    name = new_name()
    past, future = (datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) for days in (-2, 2))
    await vault.set_secret(name, "early", not_before=future)
    early = await vault.get_secret(name)
    assert (early.value, early.properties.not_before, early.properties.expires_on) == ("early", future, None)
    await vault.update_secret_properties(name, not_before=past, expires_on=past + timedelta(days=1))
    late = await vault.get_secret(name)
    assert (late.value, late.properties.not_before) == ("early", past)
    assert late.properties.expires_on == past + timedelta(days=1)
    assert late.properties.version == early.properties.version


@pytest.mark.plays("key_vault", "list_secret_versions list_secrets set_secret")
async def test_list_in_pages(vault: SecretClient) -> None:
    # Source: rest/api/keyvault/secrets/get-secrets: at most 25 in a page
    names = {new_name() for _ in range(30)}
    for name in names:
        await vault.set_secret(name, "x")
    pages = vault.list_properties_of_secrets().by_page()
    sizes, found = [], set()
    async for page in pages:
        items = [item async for item in page]
        sizes.append(len(items))
        found |= {item.name for item in items}
    assert names <= found
    assert max(sizes) == 25
    assert all(item.version is None for item in items)
    (name,) = list(names)[:1]
    for _ in range(4):
        await vault.set_secret(name, "x")
    pages = vault.list_properties_of_secret_versions(name, max_page_size=2).by_page()
    assert [len([item async for item in page]) async for page in pages] == [2, 2, 1]


@pytest.mark.plays(
    "key_vault",
    "delete_secret get_deleted_secret get_secret list_deleted_secrets purge_secret recover_secret set_secret",
)
async def test_deleted_secret_keeps_its_name_until_recovered(vault: SecretClient) -> None:
    # As documented at learn.microsoft.com/azure/key-vault/general/soft-delete-overview.
    name = new_name()
    await vault.set_secret(name, "one")
    deleted = await vault.delete_secret(name)
    assert deleted.recovery_id == f"{vault.vault_url.rstrip('/')}/deletedsecrets/{name}"
    assert (await vault.get_deleted_secret(name)).scheduled_purge_date is not None
    assert name in [one.name async for one in vault.list_deleted_secrets()]
    with pytest.raises(ResourceNotFoundError):
        await vault.get_secret(name)
    with pytest.raises(HttpResponseError) as caught:
        await vault.set_secret(name, "two")
    assert caught.value.status_code == 409
    assert caught.value.error.innererror["code"] == "ObjectIsDeletedButRecoverable"
    # With purge protection nobody can purge before the retention period has passed; soft-delete-overview says so, too.
    with pytest.raises(HttpResponseError) as caught:
        await vault.purge_deleted_secret(name)
    assert (caught.value.status_code, caught.value.error.code) == (403, "Forbidden")
    assert "purge protection is enabled" in caught.value.message
    await vault.recover_deleted_secret(name)
    assert (await vault.get_secret(name)).value == "one"


@pytest.mark.parametrize("value", ["x" * (25 * 1024 + 1)])
@pytest.mark.plays("key_vault", "set_secret")
async def test_value_too_long(vault: SecretClient, value: str) -> None:
    # Source: learn.microsoft.com/azure/key-vault/secrets/about-secrets: at most 25 KB
    with pytest.raises(HttpResponseError) as caught:
        await vault.set_secret(new_name(), value)
    assert (caught.value.status_code, caught.value.error.code) == (400, "BadParameter")


@pytest.mark.parametrize("properties", [{"tags": {f"t{n}": "" for n in range(16)}}, {"content_type": "x" * 256}])
@pytest.mark.plays("key_vault", "set_secret")
async def test_properties_too_long(vault: SecretClient, properties: dict[str, Any]) -> None:
    # learn.microsoft.com/azure/key-vault/secrets/about-secrets: 15 tags, 255 characters of contentType; how it refuses:
    # github.com/hashicorp/terraform-provider-azurerm/issues/16780.
    with pytest.raises(HttpResponseError) as error:
        await vault.set_secret(new_name(), "value", **properties)
    assert error.value.status_code == 400
    assert error.value.error is not None
    assert error.value.error.code == "BadParameter"


@pytest.mark.plays("key_vault", "set_secret")
async def test_invalid_name(vault: SecretClient) -> None:
    # learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates: 0-9, a-z, A-Z and - in names.
    with pytest.raises(HttpResponseError) as caught:
        await vault.set_secret("under_score", "x")
    assert caught.value.status_code == 400


@pytest.mark.plays("key_vault", "delete_secret get_secret list_secrets set_secret update_secret")
async def test_data_identity_may_only_get(vault: SecretClient, reader: SecretClient) -> None:
    # Source: learn.microsoft.com/azure/key-vault/general/rbac-guide; code ForbiddenByRbac: rest-error-codes
    name = new_name()
    await vault.set_secret(name, "one")
    assert (await reader.get_secret(name)).value == "one"

    async def list_all() -> None:
        async for _ in reader.list_properties_of_secrets():
            pass

    for attempt in (
        reader.set_secret(name, "two"),
        reader.delete_secret(name),
        reader.update_secret_properties(name, enabled=False),
        list_all(),
    ):
        with pytest.raises(HttpResponseError) as caught:
            await attempt
        assert (caught.value.status_code, caught.value.error.code) == (403, "Forbidden")
        assert caught.value.error.innererror["code"] == "ForbiddenByRbac"


@pytest.mark.plays("key_vault", "get_secret")
async def test_daemon_may_not_read_the_vault(
    cloud: Any, tenant: Any, daemon: ClientSecretCredential, options: dict[str, Any]
) -> None:
    # learn.microsoft.com/azure/key-vault/general/rbac-guide: no role, no access.
    async with SecretClient(cloud.vault_url, daemon, **options) as client:
        with pytest.raises(HttpResponseError) as caught:
            await client.get_secret(tenant.credential_name)
    assert caught.value.status_code == 403


@pytest.mark.plays("key_vault", "challenge")
async def test_challenge(cloud: Any, http: aiohttp.ClientSession) -> None:
    # As documented at learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses.
    async with http.get(f"{cloud.vault_url}secrets/any?api-version=2025-07-01") as answer:
        assert answer.status == 401
        directory = f"https://login.microsoftonline.com/{cloud.publisher_directory_id}"
        expected = f'Bearer authorization="{directory}", resource="https://vault.azure.net"'
        assert answer.headers["WWW-Authenticate"] == expected
        assert (await answer.json())["error"]["code"] == "Unauthorized"


@pytest.mark.plays("key_vault", "get_secret")
async def test_tokens_that_are_refused(
    cloud: Any,
    http: aiohttp.ClientSession,
    tenant: Any,
    daemon: ClientSecretCredential,
    data_identity: AsyncTokenCredential,
) -> None:
    # learn.microsoft.com/azure/key-vault/general/rest-error-codes, HTTP 401: AKV10022 and unreadable tokens.
    good = (await data_identity.get_token(VAULT)).token
    other_audience = (await daemon.get_token(ARM)).token
    head, payload, signature = good.split(".")
    altered = ".".join([head, payload[:-4] + "AAAA", signature])
    url = f"{cloud.vault_url}secrets/{tenant.credential_name}?api-version=2025-07-01"
    for token, text in (
        (good, None),
        (other_audience, "AKV10022"),
        (altered, "BearerReadAccessTokenFailed"),
        ("garbage", "BearerReadAccessTokenFailed"),
    ):
        async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == (401 if text else 200)
            if text:
                assert text in (await answer.json())["error"]["message"]
                assert answer.headers["WWW-Authenticate"].startswith("Bearer authorization=")


@pytest.mark.standin
@pytest.mark.plays("key_vault", "get_secret")
async def test_token_of_another_directory(cloud: Any, http: aiohttp.ClientSession, tenant: Any) -> None:
    # Source: learn.microsoft.com/azure/key-vault/general/rest-error-codes, AKV10032
    token, _ = cloud.azure.tokens.app_token(
        tenant.directory_id, "https://vault.azure.net", client_id=str(uuid.uuid4()), object_id="o", acr="1"
    )
    url = f"{cloud.vault_url}secrets/{tenant.credential_name}?api-version=2025-07-01"
    async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert (answer.status, "AKV10032" in (await answer.json())["error"]["message"]) == (401, True)


@pytest.mark.standin
@pytest.mark.plays("key_vault", "get_secret")
async def test_expired_token(
    cloud: Any, http: aiohttp.ClientSession, tenant: Any, data_identity: AsyncTokenCredential
) -> None:
    token = (await data_identity.get_token(VAULT)).token
    url = f"{cloud.vault_url}secrets/{tenant.credential_name}?api-version=2025-07-01"
    with cloud.later(86_400 + 600):
        async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 401


@pytest.mark.plays("key_vault", "get_secret")
def test_synchronous_client(cloud: Any, tenant: Any) -> None:
    # azure/keyvault/secrets/_shared/challenge_auth_policy.py.
    with (
        cloud.sync_credential("data") as credential,
        SyncSecretClient(cloud.vault_url, credential) as client,
    ):
        assert client.get_secret(tenant.credential_name).value


@pytest.mark.standin
async def test_identity_that_does_not_exist(cloud: Any, options: dict[str, Any]) -> None:
    async with (
        ManagedIdentityCredential(client_id=str(uuid.uuid4())) as credential,
        SecretClient(cloud.vault_url, credential, **options) as client,
    ):
        with pytest.raises(ClientAuthenticationError):
            await client.get_secret("any")


@pytest.mark.standin
@pytest.mark.parametrize("form", ["pem", "pkcs12"])
@pytest.mark.plays("key_vault", "get_secret")
async def test_certificate_credential_from_the_vault(
    cloud: Any, reader: SecretClient, options: dict[str, Any], form: str
) -> None:
    # Source of the content types: learn.microsoft.com/azure/key-vault/certificates/about-certificates
    deployed = cloud.deploy()
    status, _ = cloud.control("POST", f"/daemons/{deployed.name}/rotate", {"credential": "certificate", "format": form})
    assert status == 200
    secret = await reader.get_secret(deployed.credential_name)
    assert secret.value is not None
    if form == "pem":
        assert secret.properties.content_type == "application/x-pem-file"
        data = secret.value.encode()
    else:
        assert secret.properties.content_type == "application/x-pkcs12"
        data = base64.b64decode(secret.value)
    async with CertificateCredential(
        cloud.publisher_directory_id, deployed.client_id, certificate_data=data, **options
    ) as credential:
        assert (await credential.get_token(ARM)).token


@pytest.mark.standin
@pytest.mark.plays("key_vault", "get_secret")
async def test_journal_shows_one_probe_then_one_read_each(cloud: Any, reader: SecretClient, tenant: Any) -> None:
    await reader.get_secret(tenant.credential_name)
    _, since = cloud.journal()
    await reader.get_secret(tenant.credential_name)
    await reader.get_secret(tenant.credential_name)
    entries, _ = cloud.journal(since)
    assert [(e["operation"], e["principal"], e["target"], e["status"]) for e in entries] == [
        ("get_secret", "identity:bulkhead-data", f"bulkhead-kv/{tenant.credential_name}", 200)
    ] * 2


@pytest.mark.standin
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "secrets/any/backup"),
        ("POST", "secrets/restore"),
        ("GET", "keys"),
        ("GET", "certificates"),
    ],
)
@pytest.mark.not_played(
    "backup and restore of secrets; keys; certificates as objects of their own; access policies; firewall"
)
async def test_calls_that_are_not_played(
    cloud: Any, http: aiohttp.ClientSession, control_identity: AsyncTokenCredential, method: str, path: str
) -> None:
    token = (await control_identity.get_token(VAULT)).token
    url = f"{cloud.vault_url}{path}?api-version=2025-07-01"
    async with http.request(method, url, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (501, "NotImplemented")


@pytest.mark.standin
@pytest.mark.plays("key_vault", "unknown_vault")
@pytest.mark.inferred("a vault that does not exist answers 404; on Azure its name does not resolve at all")
async def test_unknown_vault(http: aiohttp.ClientSession) -> None:
    async with http.get("https://no-such-vault.vault.azure.net/secrets/any?api-version=2025-07-01") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "VaultNotFound")
