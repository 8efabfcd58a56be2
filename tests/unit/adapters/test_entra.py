"""Entra ID: how its refusals are understood, and how its signing keys are kept. The SDK runs on a fake transport."""

import asyncio
import base64
import datetime as dt
import json
from typing import Any

import jwt
import pytest
from azure.core.exceptions import ServiceRequestError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from shared.access.failures import AccessError, Failure
from shared.access.models import Credential, CredentialName, Daemon
from shared.adapters.entra import Entra, SigningKeys
from shared.core.caller import ClientId
from shared.core.errors import BulkheadError, Kind
from shared.core.secret import Secret
from tests.fakes import PUBLISHER, ManualClock, rsa_key
from tests.transports import FakeTransport, UnhurriedTransport

DAEMON = Daemon(
    directory_id=PUBLISHER,
    client_id=ClientId("da000000-0000-4000-8000-000000000001"),
    credential=CredentialName(kind="secret", vault="https://v.vault.azure.net", name="daemon"),
)
CANARY = "Zq7-client-secret"
TOKEN = {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": "the-access-token"}


def credential(form: Any = "client_secret", value: Any = CANARY) -> Any:
    return Credential(form=form, value=Secret(value))


def certificate(name: str = "hr") -> Any:
    key = rsa_key(name)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "daemon")])
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(moment).not_valid_after(moment + dt.timedelta(days=365))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return key, made


def pem() -> Any:
    key, made = certificate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (private + made.public_bytes(Encoding.PEM)).decode()


def pfx(encryption: Any = None) -> Any:
    key, made = certificate()
    data = pkcs12.serialize_key_and_certificates(b"daemon", key, made, None, encryption or NoEncryption())
    return base64.b64encode(data).decode()


async def take_on(answer: Any, given: Any = None) -> Any:
    transport = FakeTransport(answer)
    return transport, await Entra(transport).take_on(DAEMON, given or credential())


async def refused(answer: Any, given: Any = None) -> Any:
    with pytest.raises(AccessError) as caught:
        await take_on(answer, given)
    assert caught.value.step == 2
    assert CANARY not in str(caught.value)
    return caught.value


def fields(request: Any) -> Any:
    return dict(request._data)


async def test_a_secret_is_exchanged_for_a_token_of_resource_manager() -> None:
    transport, token = await take_on(lambda _: (200, TOKEN))
    assert token.reveal() == "the-access-token"
    (request,) = transport.requests
    assert request.url == f"https://login.microsoftonline.com/{PUBLISHER}/oauth2/v2.0/token"
    sent = fields(request)
    assert (sent["client_id"], sent["client_secret"]) == (DAEMON.client_id, CANARY)
    assert (sent["grant_type"], sent["scope"]) == ("client_credentials", "https://management.azure.com/.default")


@pytest.mark.parametrize(("form", "value"), [("pem", pem), ("pkcs12", pfx)])
async def test_a_certificate_signs_an_assertion(form: Any, value: Any) -> None:
    transport, token = await take_on(lambda _: (200, TOKEN), credential(form, value()))
    assert token.reveal() == "the-access-token"
    sent = fields(transport.requests[0])
    assert "client_secret" not in sent
    claims = jwt.decode(
        sent["client_assertion"], rsa_key("hr").public_key(), algorithms=["PS256", "RS256"],
        audience=f"https://login.microsoftonline.com/{PUBLISHER}/oauth2/v2.0/token",
    )  # fmt: skip
    assert claims["iss"] == claims["sub"] == DAEMON.client_id


async def test_a_federated_daemon_sends_the_assertion_of_the_managed_identity() -> None:
    transport, _ = await take_on(lambda _: (200, TOKEN), credential("assertion", "the-assertion"))
    assert fields(transport.requests[0])["client_assertion"] == "the-assertion"


@pytest.mark.parametrize(
    "given",
    [
        credential("pem", "no certificate"),
        credential("pkcs12", "!!!"),
        credential("pkcs12", base64.b64encode(b"x").decode()),
        credential("pkcs12", pfx(BestAvailableEncryption(b"password"))),
    ],
)
async def test_what_is_no_credential_is_a_mistake_of_an_operator(given: Any) -> None:
    error = await refused(lambda _: (200, TOKEN), given)
    assert error.failure is Failure.MISCONFIGURED


@pytest.mark.parametrize(
    ("status", "code", "failure"),
    [
        (401, "invalid_client", Failure.CREDENTIAL_REJECTED),
        (400, "invalid_client", Failure.CREDENTIAL_REJECTED),
        (400, "unauthorized_client", Failure.NOT_FOUND),
        (400, "invalid_request", Failure.MISCONFIGURED),
        (400, "invalid_scope", Failure.MISCONFIGURED),
        (400, "invalid_grant", Failure.MISCONFIGURED),
        (400, "made_up", Failure.MISCONFIGURED),
        (429, "temporarily_unavailable", Failure.THROTTLED),
        (429, "", Failure.THROTTLED),
        (503, "temporarily_unavailable", Failure.THROTTLED),
        (400, "temporarily_unavailable", Failure.THROTTLED),
        (500, "server_error", Failure.TRANSIENT),
        (503, "", Failure.TRANSIENT),
        (501, "", Failure.MISCONFIGURED),
        (408, "", Failure.TRANSIENT),
        (408, "server_error", Failure.TRANSIENT),
    ],
)
async def test_a_refusal_is_told_by_entras_code(status: int, code: Any, failure: Any) -> None:
    body = {"error": code, "error_description": f"AADSTS: {CANARY}", "error_codes": [1]}
    error = await refused(lambda _: (status, body))
    assert (error.failure, error.status) == (failure, status)


@pytest.mark.parametrize(("number", "failure"), [(70021, Failure.CREDENTIAL_REJECTED), (1, Failure.MISCONFIGURED)])
async def test_a_federation_that_is_not_known_yet_is_a_rejected_credential(number: int, failure: Any) -> None:
    body = {"error": "invalid_request", "error_codes": [number]}
    assert (await refused(lambda _: (400, body))).failure is failure


@pytest.mark.parametrize("body", [b"", {}, []])
@pytest.mark.parametrize(
    ("status", "failure"), [(400, Failure.MISCONFIGURED), (502, Failure.TRANSIENT), (429, Failure.THROTTLED)]
)
async def test_without_a_code_the_status_decides(status: int, failure: Any, body: Any) -> None:
    assert (await refused(lambda _: (status, body))).failure is failure


@pytest.mark.parametrize(
    "body", [b"<html>", b"<html>error</html>", b"expires_in", "text", 5, {"expires_in": "soon"}, {"x": 1}]
)
@pytest.mark.parametrize("status", [200, 400, 502])
async def test_what_is_no_answer_of_entra_is_a_failure_like_others(status: int, body: Any) -> None:
    """A gateway's page, for one; azure-identity reads it as if it were a JSON object."""
    failure = (await refused(lambda _: (status, body))).failure
    assert failure is Failure.TRANSIENT or (failure is Failure.MISCONFIGURED and status < 500)


@pytest.mark.parametrize("body", [b"Too Many Requests", b"", {"error": "temporarily_unavailable"}])
async def test_the_pause_that_entra_asks_for_is_kept(body: Any) -> None:
    error = await refused(lambda _: (429, body, {"Retry-After": "60"}))
    assert (error.failure, error.retry_after) == (Failure.THROTTLED, 60)


async def test_a_lost_connection_is_transient() -> None:
    def lost(_: Any) -> None:
        raise ServiceRequestError("no route")

    assert (await refused(lost)).failure is Failure.TRANSIENT


async def test_a_refusal_is_asked_for_once() -> None:
    """The broker decides on attempts; neither the SDK nor a cache of it does."""
    transport = FakeTransport(lambda _: (503, {"error": "server_error"}))
    entra = Entra(transport)
    for asked in (1, 2):
        with pytest.raises(AccessError):
            await entra.take_on(DAEMON, credential())
        assert len(transport.requests) == asked


async def test_no_token_is_kept() -> None:
    transport = FakeTransport(lambda _: (200, TOKEN))
    entra = Entra(transport)
    for asked in (1, 2):
        await entra.take_on(DAEMON, credential())
        assert len(transport.requests) == asked


# --- the keys with which Entra signs our callers' tokens ---

ISSUER = "https://login.microsoftonline.com/{tenantid}/v2.0"


def jwk(kid: str, name: str = "entra", **changes: Any) -> Any:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(name).public_key()))
    made = {"kid": kid, "kty": "RSA", "use": "sig", "n": public["n"], "e": public["e"], "issuer": ISSUER} | changes
    return {name: value for name, value in made.items() if value is not None}


class KeySet:
    """Entra's key set, which the test changes."""

    def __init__(self, *keys: Any) -> None:
        self.keys = list(keys)
        self.answers: list[Any] = []

    def __call__(self, request: Any) -> Any:
        assert request.url == "https://login.microsoftonline.com/common/discovery/v2.0/keys"
        answer = self.answers.pop(0) if self.answers else (200, {"keys": self.keys})
        if isinstance(answer, Exception):
            raise answer
        return answer


class Keys:
    def __init__(self, *keys: Any) -> None:
        self.published = KeySet(*keys)
        self.transport = FakeTransport(self.published)
        self.clock = ManualClock()
        self.cache = SigningKeys(self.transport, self.clock, pause=30, lifetime=600)

    @property
    def asked(self) -> Any:
        return len(self.transport.requests)

    async def refused(self, kid: str) -> Any:
        with pytest.raises(BulkheadError) as caught:
            await self.cache.get(kid)
        return caught.value.kind


async def test_a_key_is_fetched_once() -> None:
    keys = Keys(jwk("a"), jwk("b"))
    for kid in ("a", "b", "a"):
        key = await keys.cache.get(kid)
        assert (key.kid, key.issuer) == (kid, ISSUER)
        assert key.public_key.public_numbers() == rsa_key().public_key().public_numbers()
    assert keys.asked == 1


async def test_many_at_once_ask_once() -> None:
    keys = Keys(jwk("a"))
    await asyncio.gather(*(keys.cache.get("a") for _ in range(20)))
    assert keys.asked == 1


async def test_a_new_key_is_found_after_the_pause() -> None:
    keys = Keys(jwk("a"))
    await keys.cache.get("a")
    keys.published.keys.append(jwk("b"))
    keys.clock.advance(30)
    assert await keys.refused("b") is Kind.UNAUTHENTICATED
    assert keys.asked == 1
    keys.clock.advance(0.001)
    assert (await keys.cache.get("b")).kid == "b"
    assert keys.asked == 2


async def test_invented_keys_do_not_make_us_hammer_entra() -> None:
    keys = Keys(jwk("a"))
    await keys.cache.get("a")
    for number in range(100):
        keys.clock.advance(1)
        assert await keys.refused(f"invented-{number}") is Kind.UNAUTHENTICATED
    assert keys.asked <= 1 + 100 // 30


async def test_a_withdrawn_key_stops_working_after_its_lifetime() -> None:
    keys = Keys(jwk("a"))
    await keys.cache.get("a")
    keys.published.keys = [jwk("b")]
    keys.clock.advance(600)
    assert (await keys.cache.get("a")).kid == "a"
    keys.clock.advance(0.001)
    assert await keys.refused("a") is Kind.UNAUTHENTICATED
    assert (await keys.cache.get("b")).kid == "b"


async def test_keys_that_are_no_rsa_keys_with_an_issuer_are_left_out() -> None:
    keys = Keys({"kid": "ec", "kty": "EC", "crv": "P-256", "issuer": ISSUER}, jwk("no-issuer", issuer=None), jwk("a"))
    assert (await keys.cache.get("a")).kid == "a"
    assert await keys.refused("ec") is Kind.UNAUTHENTICATED
    assert await keys.refused("no-issuer") is Kind.UNAUTHENTICATED


@pytest.mark.parametrize(
    "answer",
    [
        (404, {"error": "x"}), (200, b"<html>"), (200, {}), (200, {"keys": [{"kty": "RSA", "issuer": "x"}]}),
        (200, {"keys": [{"kid": "a", "kty": "RSA", "issuer": "x", "n": "!", "e": "AQAB"}]}), (200, []), (200, None),
        (200, {"keys": None}), (200, {"keys": ["x"]}), ServiceRequestError("no route"),
    ],
)  # fmt: skip
async def test_without_an_answer_tokens_cannot_be_verified(answer: Any) -> None:
    keys = Keys(jwk("a"))
    keys.published.answers = [answer] * 3  # also when the SDK asks again
    assert await keys.refused("a") is Kind.UNAVAILABLE
    keys.published.answers = []
    keys.clock.advance(31)
    assert (await keys.cache.get("a")).kid == "a"


async def test_an_entra_that_does_not_answer_is_not_hammered() -> None:
    keys = Keys(jwk("a"))
    keys.published.answers = [(404, {"error": "x"})] * 200
    for _ in range(60):
        keys.clock.advance(0.1)
        assert await keys.refused("a") is Kind.UNAVAILABLE
    assert keys.asked <= 4


async def test_a_known_key_survives_a_short_outage_of_entra() -> None:
    keys = Keys(jwk("a"))
    await keys.cache.get("a")
    keys.clock.advance(100)
    keys.published.answers = [(404, {"error": "x"})] * 9
    assert await keys.refused("unknown") in (Kind.UNAVAILABLE, Kind.UNAUTHENTICATED)
    assert (await keys.cache.get("a")).kid == "a"


async def test_an_entra_that_asks_for_an_hour_keeps_nobody_waiting() -> None:
    published = KeySet(jwk("a"))
    published.answers = [(503, {}, {"Retry-After": "3600"})]
    transport, clock = UnhurriedTransport(published), ManualClock()
    cache = SigningKeys(transport, clock, within=0.1)
    told = await asyncio.gather(*(cache.get("a") for _ in range(5)), return_exceptions=True)
    assert {error.kind for error in told if isinstance(error, BulkheadError)} == {Kind.UNAVAILABLE}
    assert transport.slept == [3600]
    clock.advance(2.001)
    assert (await cache.get("a")).kid == "a"
