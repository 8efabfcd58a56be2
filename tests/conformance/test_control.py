"""The control API, the proxy, latency and faults, and that the state survives a kill of the process."""

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from infra.local.standin import publisher
from infra.local.standin.settings import Settings
from infra.local.standin.stand_in import StandIn
from tests.conformance.arm import ARM, token_of

LOGIN = "https://login.microsoftonline.com"
pytestmark = pytest.mark.standin


@pytest.fixture(autouse=True)
def fair_weather(cloud: Any) -> Iterator[None]:
    yield
    cloud.control("DELETE", "/faults")
    cloud.control("PUT", "/latency", {})


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_deployed_tenant_has_what_the_contract_names(cloud: Any) -> None:
    status, tenant = cloud.control("POST", "/tenants", {"name": "acme"})
    assert status == 201
    assert tenant.keys() == {
        "name", "directory_id", "subscription_id", "resource_group", "application_id", "cosmos_account",
    }  # fmt: skip
    assert tenant in cloud.control("GET", "/tenants")[1]["tenants"]
    assert cloud.control("POST", "/tenants", {"name": "acme"})[0] == 409
    assert cloud.control("DELETE", "/tenants/acme") == (204, None)
    assert cloud.control("DELETE", "/tenants/acme")[0] == 404
    assert cloud.azure.accounts.get(tenant["cosmos_account"]) is None


def test_two_tenants_in_one_directory(cloud: Any) -> None:
    first = cloud.deploy()
    second = cloud.deploy(first.directory_id)
    assert second.directory_id == first.directory_id
    assert second.subscription_id != first.subscription_id
    assert second.cosmos_account != first.cosmos_account


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/tenants", {"name": "Not A Name"}, 400),
        ("POST", "/tenants", {"name": "x", "directory_id": "no-guid"}, 400),
        ("POST", "/tenants", {"name": "x", "directory": "misspelt"}, 400),
        ("POST", "/tenants", {}, 400),
        ("POST", "/daemons", {"name": "none", "credential": "secret"}, 404),
        ("POST", "/daemons", {"name": "none", "credential": "password"}, 400),
        ("POST", "/daemons/none/rotate", {"credential": "secret"}, 404),
        ("POST", "/tokens", {"tenant": "none"}, 404),
        ("POST", "/tokens", {}, 400),
        ("POST", "/tokens", {"publisher": True, "key": "other"}, 400),
        ("POST", "/cosmos/none/regenerate", {"key_kind": "primary"}, 404),
        ("PUT", "/latency", {"entra": "slow"}, 400),
        ("PUT", "/latency", {"mars": 1}, 400),
        ("PUT", "/faults", {"rules": [{"service": "mars"}]}, 400),
        ("PUT", "/faults", {"rules": [{"service": "entra", "statsu": 500}]}, 400),
        ("GET", "/nothing", None, 404),
    ],
)
def test_refusals_say_what_is_wrong(cloud: Any, method: str, path: str, body: Any, status: int) -> None:
    got, answer = cloud.control(method, path, body)
    assert (got, answer.keys()) == (status, {"error"})


def test_user_token(cloud: Any, tenant: Any) -> None:
    # Claims as in learn.microsoft.com/entra/identity-platform/access-token-claims-reference, v2.0.
    status, answer = cloud.control("POST", "/tokens", {"tenant": tenant.name, "roles": ["Reports.Read"]})
    assert status == 201
    claims = claims_of(answer["access_token"])
    env = cloud.endpoints.env
    assert claims["iss"] == f"{LOGIN}/{tenant.directory_id}/v2.0"
    assert claims["tid"] == tenant.directory_id
    assert claims["aud"] == env["BULKHEAD_API_AUDIENCE"]
    assert claims["azp"] == env["BULKHEAD_FRONT_END_CLIENT_IDS"]
    assert claims["roles"] == ["Reports.Read"]
    assert claims["ver"] == "2.0"
    assert {"oid", "sub", "azpacr", "iat", "nbf", "exp", "uti"} <= claims.keys()
    assert cloud.azure.tokens.verify(answer["access_token"], env["BULKHEAD_API_AUDIENCE"]).object_id == claims["oid"]


def test_publisher_token_overrides_and_forgery(cloud: Any) -> None:
    _, answer = cloud.control(
        "POST", "/tokens", {"publisher": True, "roles": ["Publisher.Read"], "overrides": {"exp": 1, "oid": None}}
    )
    claims = claims_of(answer["access_token"])
    assert (claims["tid"], claims["exp"], "oid" in claims) == (cloud.publisher_directory_id, 1, False)
    _, good = cloud.control("POST", "/tokens", {"publisher": True})
    _, forged = cloud.control("POST", "/tokens", {"publisher": True, "key": "forged"})
    kids = {jwt.get_unverified_header(answer["access_token"])["kid"] for answer in (good, forged)}
    assert kids == {cloud.azure.tokens.key_id}
    key = cloud.azure.tokens.jwks("common")["keys"][0]
    for token, valid in ((good["access_token"], True), (forged["access_token"], False)):
        try:
            jwt.decode(token, jwt.PyJWK(key), audience=cloud.endpoints.env["BULKHEAD_API_AUDIENCE"])
            verified = True
        except jwt.InvalidSignatureError:
            verified = False
        assert verified is valid


async def issue(http: aiohttp.ClientSession, tenant: Any, secret: str) -> tuple[int, dict[str, Any]]:
    form = {
        "grant_type": "client_credentials",
        "client_id": tenant.client_id,
        "client_secret": secret,
        "scope": f"{ARM}/.default",
    }
    async with http.post(f"{LOGIN}/{publisher.DIRECTORY_ID}/oauth2/v2.0/token", data=form) as answer:
        return answer.status, await answer.json()


def stored_secret(cloud: Any, tenant: Any) -> str:
    vault = cloud.azure.vaults.get("bulkhead-kv")
    return str(cloud.azure.vaults.secret(vault, tenant.credential_name).versions[-1].value)


@pytest.mark.plays("entra", "issue_token")
async def test_rotation_of_a_daemons_credential(cloud: Any, http: aiohttp.ClientSession) -> None:
    tenant = cloud.deploy()
    old = stored_secret(cloud, tenant)
    assert (await issue(http, tenant, old))[0] == 200
    status, daemon = cloud.control("POST", f"/daemons/{tenant.name}/rotate", {"credential": "secret"})
    assert status == 200
    assert daemon["credential_name"] == tenant.credential_name
    assert (await issue(http, tenant, old))[0] == 401
    assert (await issue(http, tenant, stored_secret(cloud, tenant)))[0] == 200


def test_secrets_lists_everything_ever_issued(cloud: Any) -> None:
    tenant = cloud.deploy()
    account = cloud.azure.accounts.get(tenant.cosmos_account)
    old_key, old_secret = account.keys["primary"], stored_secret(cloud, tenant)
    _, answer = cloud.control("POST", "/tokens", {"publisher": True})
    cloud.control("POST", f"/cosmos/{tenant.cosmos_account}/regenerate", {"key_kind": "primary"})
    cloud.control("POST", f"/daemons/{tenant.name}/rotate", {"credential": "certificate"})
    values = {secret["value"] for secret in cloud.control("GET", "/secrets")[1]["secrets"]}
    assert account.keys["primary"] != old_key
    assert {old_key, *account.keys.values(), old_secret, stored_secret(cloud, tenant), answer["access_token"]} <= values
    assert cloud.endpoints.env["IDENTITY_HEADER"] in values


@pytest.mark.plays("entra", "jwks")
async def test_latency_delays_one_service(cloud: Any, http: aiohttp.ClientSession) -> None:
    cloud.control("PUT", "/latency", {"entra": 150})
    assert cloud.control("GET", "/latency")[1]["entra"] == 150
    start = time.monotonic()
    async with http.get(f"{LOGIN}/common/discovery/v2.0/keys") as answer:
        assert answer.status == 200
    assert time.monotonic() - start >= 0.15


@pytest.mark.plays("entra", "jwks")
async def test_fault_with_status_and_times(cloud: Any, http: aiohttp.ClientSession) -> None:
    rule = {"service": "entra", "operation": "jwks", "retry_after": 7, "times": 2}
    cloud.control("PUT", "/faults", {"rules": [rule]})
    statuses = []
    for _ in range(3):
        async with http.get(f"{LOGIN}/common/discovery/v2.0/keys") as answer:
            statuses.append(answer.status)
            if answer.status == 429:
                assert answer.headers["Retry-After"] == "7"
                assert await answer.text() == "Too Many Requests"
    assert statuses == [429, 429, 200]


@pytest.mark.parametrize("drop", ["request", "answer"])
@pytest.mark.plays("resource_manager", "regenerate_key")
async def test_dropped_connection_before_and_after_the_call(cloud: Any, http: aiohttp.ClientSession, drop: str) -> None:
    tenant = cloud.deploy()
    token = token_of(cloud, tenant)
    rule = {"service": "resource_manager", "operation": "regenerate_key", "target": tenant.cosmos_account, "drop": drop}
    cloud.control("PUT", "/faults", {"rules": [rule]})
    cloud.control("PUT", "/settings", {"regenerate_seconds": 30})
    _, since = cloud.journal()
    with pytest.raises(aiohttp.ClientError):
        await http.post(
            f"{ARM}{tenant.account_id}/regenerateKey?api-version=2024-11-15",
            headers={"Authorization": f"Bearer {token}"},
            json={"keyKind": "primary"},
        )
    carried_out = cloud.call(lambda: cloud.azure.regenerations.running(tenant.cosmos_account))
    assert carried_out is (drop == "answer")
    entries, _ = cloud.journal(since)
    assert [(entry["operation"], entry["status"]) for entry in entries] == [("regenerate_key", 0)]
    cloud.control("PUT", "/settings", {})


@pytest.mark.plays("entra", "issue_token")
async def test_a_held_request_meets_the_state_at_its_end(cloud: Any, http: aiohttp.ClientSession) -> None:
    tenant = cloud.deploy()
    old = stored_secret(cloud, tenant)
    rule = {"service": "entra", "operation": "issue_token", "target": tenant.client_id, "delay_ms": 400, "times": 1}
    cloud.control("PUT", "/faults", {"rules": [rule]})
    held = asyncio.create_task(issue(http, tenant, old))
    async with asyncio.timeout(10):
        while cloud.control("GET", "/faults")[1]["rules"][0]["times"]:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0)
    cloud.control("POST", f"/daemons/{tenant.name}/rotate", {"credential": "secret"})
    assert (await held)[0] == 401


async def test_proxy_opens_no_way_out(cloud: Any, http: aiohttp.ClientSession) -> None:
    _, since = cloud.journal()
    for url in ("https://example.com/", f"{LOGIN}:8443/", "https://a.b.vault.azure.net/"):
        with pytest.raises(aiohttp.ClientHttpProxyError) as caught:
            await http.get(url)
        assert caught.value.status == 403
    async with aiohttp.ClientSession() as plain, plain.get(cloud.endpoints.proxy) as answer:
        assert answer.status == 405
    assert cloud.journal(since)[0] == []


async def test_hosts_do_not_mix(http: aiohttp.ClientSession) -> None:
    """A request through one host's tunnel for a host that is not played is refused."""
    async with http.get(f"{LOGIN}/common/discovery/v2.0/keys", headers={"Host": "example.com"}) as answer:
        assert answer.status == 421


@pytest.mark.plays("entra", "jwks")
async def test_many_new_connections_at_once(http: aiohttp.ClientSession) -> None:
    async def get() -> int:
        async with http.get(f"{LOGIN}/common/discovery/v2.0/keys") as answer:
            return answer.status

    assert await asyncio.gather(*(get() for _ in range(100))) == [200] * 100


@pytest.mark.not_played("Microsoft Graph: its host is there, and every call is refused")
async def test_graph_is_refused_and_journalled(cloud: Any, http: aiohttp.ClientSession) -> None:
    _, since = cloud.journal()
    async with http.get("https://graph.microsoft.com/v1.0/applications") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (501, "notImplemented")
    (entry,) = cloud.journal(since)[0]
    assert (entry["service"], entry["target"], entry["status"]) == ("graph", "/v1.0/applications", 501)


STEPS = """
import asyncio, sys
from azure.identity.aio import ClientSecretCredential, ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient
from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

async def main(identity, vault, name, directory, client, subscription, group, account):
    async with ManagedIdentityCredential(client_id=identity) as own, SecretClient(vault, own) as secrets:
        secret = (await secrets.get_secret(name)).value
    async with (
        ClientSecretCredential(directory, client, secret) as daemon,
        CosmosDBManagementClient(daemon, subscription) as manager,
    ):
        keys = await manager.database_accounts.list_keys(group, account)
    print(keys.primary_master_key)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.plays("entra", "issue_token")
@pytest.mark.plays("resource_manager", "list_keys")
@pytest.mark.plays("key_vault", "challenge get_secret")
@pytest.mark.plays("managed_identity", "issue_token")
def test_steps_with_unmodified_sdks_and_nothing_but_the_environment(cloud: Any, tenant: Any) -> None:
    """Steps 1 to 4 of an invocation in a process of its own, whose clients get no option at all."""
    arguments = [
        cloud.data_identity.client_id,
        cloud.vault_url,
        tenant.credential_name,
        cloud.publisher_directory_id,
        tenant.client_id,
        tenant.subscription_id,
        tenant.resource_group,
        tenant.cosmos_account,
    ]
    _, since = cloud.journal()
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", STEPS, *arguments], stdout=subprocess.PIPE, check=True, text=True, timeout=60
    )
    assert done.stdout.strip() == cloud.azure.accounts.get(tenant.cosmos_account).keys["primary"]
    entries, _ = cloud.journal(since)
    assert [(entry["service"], entry["operation"], entry["principal"]) for entry in entries] == [
        ("key_vault", "challenge", "anonymous"),  # the SDK's probe, once per process and vault
        ("managed_identity", "issue_token", "identity:bulkhead-data"),
        ("key_vault", "get_secret", "identity:bulkhead-data"),
        ("entra", "issue_token", f"app:{tenant.client_id}"),
        ("resource_manager", "list_keys", f"app:{tenant.client_id}"),
    ]


async def test_regeneration_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = StandIn(tmp_path)
    await first.start()
    tenant = first.customers.deploy("acme")
    key = stored_key(first)
    first.world.change(Settings(regenerate_seconds=0.3))
    operation = first.azure.regenerations.begin(tenant.cosmos_account, "primary", tenant.subscription_id, "me")
    await first.stop()
    assert not operation.changed
    second = StandIn(tmp_path)
    assert stored_key(second) == key
    await second.start()
    try:
        async with asyncio.timeout(10):
            while stored_key(second) == key:  # noqa: ASYNC110 - a store announces no change
                await asyncio.sleep(0.01)
    finally:
        await second.stop()


def stored_key(stand_in: StandIn) -> str:
    (tenant,) = stand_in.customers.tenants()
    account = stand_in.azure.accounts.get(tenant.cosmos_account)
    assert account is not None
    return account.keys["primary"]


@contextmanager
def launched(state: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """The stand-in as a process, once its ready-file is there; killed at the end if it still runs."""
    process = subprocess.Popen([sys.executable, "-m", "infra.local.standin", "--state", str(state)])  # noqa: S603
    try:
        ready = state / "standin.json"
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process, json.loads(ready.read_text())
    finally:
        process.kill()
        process.wait()


def test_a_second_one_leaves_the_first_and_its_state_alone(tmp_path: Path) -> None:
    with launched(tmp_path) as (first, endpoints):
        command = [sys.executable, "-m", "infra.local.standin", "--state", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
        assert (second.returncode, second.stderr.count("\n")) == (1, 1)
        assert f"'{tmp_path}' already" in second.stderr
        assert first.poll() is None
        assert json.loads((tmp_path / "standin.json").read_text()) == endpoints


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:  # noqa: S310 - loopback
        return json.loads(answer.read())


def test_state_survives_a_kill_and_sigterm_ends_cleanly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    names = [f"t-{uuid.uuid4().hex[:8]}" for _ in range(3)]
    with launched(tmp_path) as (_, endpoints):
        url = endpoints["stand_in"]
        deployed = [ask(f"{url}/tenants", {"name": name}) for name in sorted(names)]
        daemon = ask(f"{url}/daemons", {"name": names[0], "credential": "secret"})
        before = ask(f"{url}/secrets")["secrets"]
    (tmp_path / "standin.json").unlink()

    with launched(tmp_path) as (process, again):
        url = again["stand_in"]
        assert ask(f"{url}/tenants")["tenants"] == deployed
        after = ask(f"{url}/secrets")["secrets"]
        assert [secret for secret in before if secret not in after] == []
        assert again["env"]["IDENTITY_HEADER"] == endpoints["env"]["IDENTITY_HEADER"]
        rotated = ask(f"{url}/daemons/{names[0]}/rotate", {"credential": "secret"})
        assert rotated["credential_name"] == daemon["credential_name"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not (tmp_path / "standin.json").exists()
    assert (tmp_path / "tls" / "server.pem").stat().st_mode & 0o077 == 0
