"""Every reason for which an order of a tenant's own system is refused."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from shared.tenants import signed_requests
from shared.tenants.models import SigningKey
from shared.tenants.signed_requests import RejectedRequestError
from tests.fakes import (
    AUDIENCE,
    CONTOSO,
    CONTOSO_HR,
    CONTOSO_RETAIL,
    FABRIKAM,
    FABRIKAM_HR,
    START,
    rsa_key,
)

NOW = int(START.timestamp())
DAY = 24 * 3600
SKEW = 60

PRIVATE = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa_key("hr"),
    "PS256": rsa_key("hr"),
}


def registered(alg: Any, kid: str = "hr-1") -> Any:
    fields = json.loads(jwt.get_algorithm_by_name(alg).to_jwk(PRIVATE[alg].public_key()))
    fields.pop("key_ops", None)
    return SigningKey(kid=kid, alg=alg, **fields)


ED = registered("EdDSA")
CONTOSO_TENANT = CONTOSO_HR.tenant(signing_keys=(ED,))


def claims(**changes: Any) -> Any:
    made = {
        "iss": CONTOSO, "aud": AUDIENCE, "jti": "order-1", "iat": NOW, "exp": NOW + 3600,
        "candidate_id": "cand_1", "package": "essential",
    }  # fmt: skip
    return {name: value for name, value in (made | changes).items() if value is not None}


def sign(payload: Any, alg: Any = "EdDSA", kid: str = "hr-1", key: Any = None, **header: Any) -> Any:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = {"kid": kid, **header} if kid is not None else header
    return jwt.PyJWS().encode(raw, key or PRIVATE[alg], algorithm=alg, headers=headers)


def verify(message: Any, *tenants: Any, now: Any = START) -> Any:
    signed_requests.issuer(message)
    return signed_requests.verify(message, tenants or (CONTOSO_TENANT,), AUDIENCE, now)


def reason(message: Any, *tenants: Any, now: Any = START) -> Any:
    with pytest.raises(RejectedRequestError) as caught:
        verify(message, *tenants, now=now)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("alg", ["EdDSA", "ES256", "RS256", "PS256"])
def test_a_good_order_tells_who_wants_what(alg: Any) -> None:
    tenant = CONTOSO_HR.tenant(signing_keys=(registered(alg),))
    request = verify(sign(claims(), alg), tenant)
    assert request.tenant_id == CONTOSO_HR.tenant_id
    assert (request.jti, request.issued_at) == ("order-1", NOW)
    assert (request.candidate_id, request.package) == ("cand_1", "essential")
    assert (request.caller.directory_id, request.caller.actor) == (CONTOSO, "message:hr-1")


def test_the_directory_is_compared_without_case() -> None:
    assert verify(sign(claims(iss=CONTOSO.upper()))).tenant_id == CONTOSO_HR.tenant_id
    assert signed_requests.issuer(sign(claims(iss=CONTOSO.upper()))) == CONTOSO


# --- malformed ---


@pytest.mark.parametrize(
    "message",
    [
        "", "x", "a.b.c", "....", "é.é.é", "{}", "\ufffd" * 20,
        sign(b"[1]"), sign(b"null"), sign(b"not json"), sign(b"[" * 5_000), sign(claims(iss=None)), sign(claims(iss=5)),
    ],
)  # fmt: skip
def test_what_is_no_order_is_malformed(message: Any) -> None:
    with pytest.raises(RejectedRequestError, match="malformed"):
        signed_requests.issuer(message)
    with pytest.raises(RejectedRequestError):
        signed_requests.verify(message, (CONTOSO_TENANT,), AUDIENCE, START)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=100))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(RejectedRequestError):
        verify(text)


def test_a_huge_message_is_not_even_parsed() -> None:
    assert reason("x" * 16_385) == "too_long"


@pytest.mark.parametrize("claim", ["aud", "jti", "iat", "exp", "candidate_id", "package"])
@pytest.mark.parametrize("value", [None, [], {}, True])
def test_every_claim_must_be_there_and_of_its_type(claim: Any, value: Any) -> None:
    assert reason(sign(claims(**{claim: value}))) == "malformed"


@pytest.mark.parametrize(
    "changes", [{"jti": ""}, {"jti": "x" * 256}, {"iat": str(NOW)}, {"exp": 1.5}, {"tenant": 5}, {"aud": [AUDIENCE]}]
)
def test_claims_out_of_their_bounds_are_malformed(changes: Any) -> None:
    assert reason(sign(claims(**changes))) == "malformed"


@pytest.mark.parametrize("claim", ["iss", "aud", "jti", "iat", "exp", "candidate_id", "package", "tenant"])
def test_half_a_character_is_no_text(claim: Any) -> None:
    """JSON can write one, Python reads it, and whoever encodes it later fails."""
    message = sign(claims(**{claim: "\ud800"}))
    with pytest.raises(RejectedRequestError, match="malformed"):
        signed_requests.verify(message, (CONTOSO_TENANT,), AUDIENCE, START)


@pytest.mark.parametrize("directory", ["", "contoso.example", CONTOSO + "\n", "d" * 10_000])
def test_what_is_no_directory_is_not_looked_for(directory: Any) -> None:
    with pytest.raises(RejectedRequestError, match="unknown_issuer"):
        signed_requests.issuer(sign(claims(iss=directory)))


def test_a_key_of_the_directory_speaks_for_no_other_issuer() -> None:
    """The keys were looked up by the directory that the message names; what is signed must name the same."""
    message = sign(claims(iss=FABRIKAM))
    with pytest.raises(RejectedRequestError, match="malformed"):
        signed_requests.verify(message, (CONTOSO_TENANT,), AUDIENCE, START)


# --- who signed it ---


def test_a_directory_without_tenants_is_unknown() -> None:
    with pytest.raises(RejectedRequestError, match="unknown_issuer"):
        signed_requests.verify(sign(claims()), (), AUDIENCE, START)


@pytest.mark.parametrize("kid", [None, "", "hr-2", "HR-1", "hr-1 "])
def test_a_key_that_is_not_registered_is_unknown(kid: str) -> None:
    assert reason(sign(claims(), kid=kid)) == "unknown_key"


def test_a_tenant_without_keys_knows_none() -> None:
    assert reason(sign(claims()), CONTOSO_HR.tenant()) == "unknown_key"


def test_another_key_of_the_same_name_is_a_bad_signature() -> None:
    assert reason(sign(claims(), key=ed25519.Ed25519PrivateKey.generate())) == "bad_signature"


def test_a_key_in_the_header_is_not_believed() -> None:
    forger = ed25519.Ed25519PrivateKey.generate()
    own = json.loads(jwt.get_algorithm_by_name("EdDSA").to_jwk(forger.public_key()))
    assert reason(sign(claims(), key=forger, jwk=own, jku="https://forger.example/keys")) == "bad_signature"


def test_changed_claims_are_a_bad_signature() -> None:
    header, _, signature = sign(claims()).split(".")
    assert reason(f"{header}.{encoded(claims(candidate_id='cand_2'))}.{signature}") == "bad_signature"


def encoded(part: Any) -> Any:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize("alg", ["none", "None", ""])
def test_an_unsigned_order_is_refused(alg: Any) -> None:
    message = f"{encoded({'alg': alg, 'kid': 'hr-1'})}.{encoded(claims())}."
    assert reason(message) == "bad_signature"


@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.PEM, PublicFormat.PKCS1),
    ],
)
def test_a_public_key_is_no_hmac_secret(encoding: Any, form: Any) -> None:
    secret = rsa_key("hr").public_key().public_bytes(encoding, form)
    signed = f"{encoded({'alg': 'HS256', 'kid': 'hr-1'})}.{encoded(claims())}"
    message = f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"
    assert reason(message, CONTOSO_HR.tenant(signing_keys=(registered("RS256"),))) == "bad_signature"


@pytest.mark.parametrize(("registered_as", "signed_with"), [("RS256", "PS256"), ("PS256", "RS256")])
def test_the_algorithm_is_the_registered_keys(registered_as: Any, signed_with: Any) -> None:
    tenant = CONTOSO_HR.tenant(signing_keys=(registered(registered_as),))
    assert reason(sign(claims(), signed_with), tenant) == "bad_signature"


def test_a_header_that_names_another_algorithm_is_refused() -> None:
    _, payload, signature = sign(claims()).split(".")
    for alg in ("ES256", "RS256", "HS256", "none"):
        assert reason(f"{encoded({'alg': alg, 'kid': 'hr-1'})}.{payload}.{signature}") == "bad_signature"


def test_a_stored_key_that_cannot_be_loaded_signs_nothing() -> None:
    broken = SigningKey(kid="hr-1", alg="RS256", kty="RSA", n="AQAB", e="AQAB")
    assert reason(sign(claims(), "RS256"), CONTOSO_HR.tenant(signing_keys=(broken,))) == "bad_signature"


# --- for us, and in force ---


@pytest.mark.parametrize("audience", ["", "other", AUDIENCE.upper(), f"api://{AUDIENCE}"])
def test_an_order_for_somebody_else_is_refused(audience: Any) -> None:
    assert reason(sign(claims(aud=audience))) == "wrong_audience"


@pytest.mark.parametrize(("exp", "expected"), [(NOW - SKEW, "expired"), (NOW - SKEW + 1, None), (-(10**30), "expired")])
def test_it_expires_at_the_exact_second(exp: Any, expected: Any) -> None:
    message = sign(claims(iat=exp - 60, exp=exp))
    if expected:
        assert reason(message) == expected
    else:
        verify(message)


@pytest.mark.parametrize(
    ("iat", "expected"), [(NOW + SKEW + 1, "not_yet_valid"), (NOW + SKEW, None), (10**30, "not_yet_valid")]
)
def test_it_begins_at_the_exact_second(iat: Any, expected: Any) -> None:
    message = sign(claims(iat=iat, exp=iat + 60))
    if expected:
        assert reason(message) == expected
    else:
        verify(message)


@pytest.mark.parametrize(
    ("nbf", "expected"), [(NOW + SKEW + 1, "not_yet_valid"), (NOW + SKEW, None), ("soon", "malformed")]
)
def test_an_order_may_say_from_when_on_it_is_good(nbf: Any, expected: Any) -> None:
    """RFC 7519, section 4.1.5: before that time it must not be accepted."""
    message = sign(claims(nbf=nbf))
    if expected is None:
        verify(message)
    else:
        assert reason(message) == expected


@pytest.mark.parametrize(("life", "expected"), [(DAY, None), (DAY + 1, "too_long_lived"), (10**30, "too_long_lived")])
def test_it_lives_a_day_at_most(life: Any, expected: Any) -> None:
    message = sign(claims(exp=NOW + life))
    if expected:
        assert reason(message) == expected
    else:
        verify(message)


def test_an_old_order_cannot_claim_a_late_end() -> None:
    assert reason(sign(claims(iat=NOW - 2 * DAY, exp=NOW + 60))) == "too_long_lived"


# --- several tenants of one directory ---

RETAIL_KEY = SigningKey(kid="retail-1", alg="ES256", **{
    name: getattr(registered("ES256"), name) for name in ("kty", "crv", "x", "y")
})  # fmt: skip


def test_a_key_speaks_for_the_tenant_that_registered_it_only() -> None:
    tenants = (CONTOSO_TENANT, CONTOSO_RETAIL.tenant(signing_keys=(RETAIL_KEY,)))
    assert verify(sign(claims()), *tenants).tenant_id == CONTOSO_HR.tenant_id
    assert verify(sign(claims(), "ES256", "retail-1"), *tenants).tenant_id == CONTOSO_RETAIL.tenant_id
    for tenant in (CONTOSO_RETAIL.tenant_id, FABRIKAM_HR.tenant_id, "", "ten_x"):
        assert reason(sign(claims(tenant=tenant)), *tenants) == "unknown_tenant"
    assert verify(sign(claims(tenant=CONTOSO_HR.tenant_id)), *tenants).tenant_id == CONTOSO_HR.tenant_id


def test_a_key_that_two_tenants_registered_needs_one_of_them_named() -> None:
    tenants = (CONTOSO_TENANT, CONTOSO_RETAIL.tenant(signing_keys=(ED,)))
    assert reason(sign(claims()), *tenants) == "ambiguous_tenant"
    for names in (CONTOSO_HR, CONTOSO_RETAIL):
        assert verify(sign(claims(tenant=names.tenant_id)), *tenants).tenant_id == names.tenant_id


@pytest.mark.parametrize("turn", [1, -1])
def test_two_keys_of_one_name_are_told_apart_by_the_signature(turn: Any) -> None:
    other = CONTOSO_RETAIL.tenant(signing_keys=(registered("ES256", "hr-1"),))
    tenants = (CONTOSO_TENANT, other)[::turn]
    assert verify(sign(claims()), *tenants).tenant_id == CONTOSO_HR.tenant_id
    assert verify(sign(claims(), "ES256"), *tenants).tenant_id == CONTOSO_RETAIL.tenant_id
    assert reason(sign(claims(tenant=CONTOSO_RETAIL.tenant_id)), *tenants) == "unknown_tenant"


def test_a_key_described_in_two_ways_is_still_one_key() -> None:
    """`use` is a remark of the JWKS, no part of the key."""
    remarked = SigningKey(kid="hr-1", alg="EdDSA", kty=ED.kty, crv=ED.crv, x=ED.x, use="sig")
    tenants = (CONTOSO_TENANT, CONTOSO_RETAIL.tenant(signing_keys=(remarked,)))
    assert verify(sign(claims(tenant=CONTOSO_RETAIL.tenant_id)), *tenants).tenant_id == CONTOSO_RETAIL.tenant_id
    assert reason(sign(claims()), *tenants) == "ambiguous_tenant"


def test_a_locked_tenants_key_orders_nothing() -> None:
    assert reason(sign(claims()), CONTOSO_HR.tenant(signing_keys=(ED,), status="locked")) == "tenant_locked"


@pytest.mark.parametrize(
    ("refused", "tenants", "changes"),
    [
        ("unknown_key", (CONTOSO_HR.tenant(),), {}),
        ("bad_signature", (CONTOSO_HR.tenant(signing_keys=(registered("RS256"),)),), {}),
        ("unknown_tenant", (CONTOSO_TENANT,), {"tenant": CONTOSO_RETAIL.tenant_id}),
        ("ambiguous_tenant", (CONTOSO_TENANT, CONTOSO_RETAIL.tenant(signing_keys=(ED,))), {}),
        ("tenant_locked", (CONTOSO_HR.tenant(signing_keys=(ED,), status="locked"),), {}),
    ],
)
def test_what_another_state_of_the_registry_would_accept_is_marked(refused: Any, tenants: Any, changes: Any) -> None:
    assert reason(sign(claims(**changes)), *tenants) == refused
    assert refused in signed_requests.OF_THE_REGISTRY


def test_what_lies_in_the_message_is_not_marked() -> None:
    in_the_message = {"malformed", "too_long", "wrong_audience", "expired", "not_yet_valid", "too_long_lived"}
    assert not in_the_message & signed_requests.OF_THE_REGISTRY
