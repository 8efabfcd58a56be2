"""Every check of a token, one fault at a time: the token is good in all other respects."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from shared.core import token
from shared.core.errors import BulkheadError, Kind
from tests.fakes import AUDIENCE, CONTOSO, FABRIKAM, FRONT_END, ManualClock, TokenFactory, rsa_key

SKEW = 60


@pytest.fixture
def clock() -> Any:
    return ManualClock()


@pytest.fixture
def tokens(clock: ManualClock) -> Any:
    return TokenFactory(clock)


def check(raw: str, tokens: TokenFactory, clock: ManualClock) -> Any:
    """As serving does it, with a key set of one key."""
    if token.key_id(raw) != tokens.kid:
        raise BulkheadError(Kind.UNAUTHENTICATED, "invalid_token", "The token's key is unknown.")
    return token.caller(token.verify(raw, tokens.key, AUDIENCE, clock.now()))


def refused(raw: str, tokens: TokenFactory, clock: ManualClock) -> Any:
    with pytest.raises(BulkheadError) as caught:
        check(raw, tokens, clock)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert caught.value.code == "invalid_token"
    return caught.value.detail


def encoded(part: Any) -> Any:
    return base64.urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode()).decode().rstrip("=")


def test_a_good_token_tells_its_caller(tokens: TokenFactory, clock: ManualClock) -> None:
    caller = check(tokens.token(CONTOSO, "Reports.Read", "Tenant.Admin"), tokens, clock)
    assert caller.directory_id == CONTOSO
    assert caller.object_id == "0d000000-0000-4000-8000-000000000001"
    assert caller.client_id == FRONT_END
    assert caller.roles == {"Reports.Read", "Tenant.Admin"}


def test_a_token_without_roles_has_none(tokens: TokenFactory, clock: ManualClock) -> None:
    assert check(tokens.token(roles=None), tokens, clock).roles == frozenset()


# --- the signature ---


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "NONE", ""])
def test_an_unsigned_token_is_refused(tokens: TokenFactory, clock: ManualClock, algorithm: Any) -> None:
    header = {"alg": algorithm, "typ": "JWT", "kid": tokens.kid}
    raw = f"{encoded(header)}.{encoded(tokens.claims())}."
    assert "algorithm" in refused(raw, tokens, clock)
    with pytest.raises(BulkheadError):
        token.verify(raw, tokens.key, AUDIENCE, clock.now())


@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_the_public_key_is_no_hmac_secret(tokens: TokenFactory, clock: ManualClock, encoding: Any, form: Any) -> None:
    secret = rsa_key().public_key().public_bytes(encoding, form)
    signed = f"{encoded({'alg': 'HS256', 'kid': tokens.kid})}.{encoded(tokens.claims())}"
    raw = f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"
    assert "algorithm" in refused(raw, tokens, clock)
    with pytest.raises(BulkheadError, match="signature"):
        token.verify(raw, tokens.key, AUDIENCE, clock.now())


@pytest.mark.parametrize("algorithm", ["PS256", "RS384", "RS512"])
def test_other_algorithms_of_the_same_key_are_refused(tokens: TokenFactory, clock: ManualClock, algorithm: Any) -> None:
    raw = jwt.encode(tokens.claims(), rsa_key(), algorithm=algorithm, headers={"kid": tokens.kid})
    assert "algorithm" in refused(raw, tokens, clock)
    with pytest.raises(BulkheadError, match="signature"):
        token.verify(raw, tokens.key, AUDIENCE, clock.now())


def test_another_key_with_the_right_name_is_refused(tokens: TokenFactory, clock: ManualClock) -> None:
    assert "signature" in refused(tokens.sign(tokens.claims(), key=rsa_key("forger")), tokens, clock)


def test_a_key_in_the_header_is_not_believed(tokens: TokenFactory, clock: ManualClock) -> None:
    forged = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key("forger").public_key()))
    raw = jwt.encode(
        tokens.claims(), rsa_key("forger"), algorithm="RS256",
        headers={"kid": tokens.kid, "jwk": forged, "jku": "https://forger.example/keys", "x5u": "https://x.example"},
    )  # fmt: skip
    assert "signature" in refused(raw, tokens, clock)


@pytest.mark.parametrize("kid", ["entra-2", "ENTRA-1", "../entra-1", " entra-1"])
def test_an_unknown_key_is_refused(tokens: TokenFactory, clock: ManualClock, kid: str) -> None:
    assert "key" in refused(tokens.sign(tokens.claims(), kid=kid), tokens, clock)


@pytest.mark.parametrize("kid", [None, "", 5, ["entra-1"], {"kid": "entra-1"}])
def test_a_token_must_name_its_key(tokens: TokenFactory, clock: ManualClock, kid: str) -> None:
    header = {"alg": "RS256", "kid": kid} if kid is not None else {"alg": "RS256"}
    refused(f"{encoded(header)}.{encoded(tokens.claims())}.{encoded(b'x' * 256)}", tokens, clock)


def test_changed_claims_break_the_signature(tokens: TokenFactory, clock: ManualClock) -> None:
    header, _, signature = tokens.token().split(".")
    raw = f"{header}.{encoded(tokens.claims(roles=['Tenant.Admin']))}.{signature}"
    assert "signature" in refused(raw, tokens, clock)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        "...",
        "é.é.é",
        encoded(b"[" * 20_000) + ".e30.",
        encoded(b"null") + ".e30.",
    ],
)
def test_what_is_no_token_is_refused(tokens: TokenFactory, clock: ManualClock, raw: str) -> None:
    refused(raw, tokens, clock)


@given(st.text(alphabet=st.characters(), max_size=60))  # surrogates too: a header's bytes may be no text
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(BulkheadError) as caught:
        token.key_id(text)
    assert caught.value.kind is Kind.UNAUTHENTICATED


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_changed_byte_is_refused(position: Any, byte: Any) -> None:
    clock = ManualClock()
    tokens = TokenFactory(clock)
    good = tokens.token(CONTOSO, "Reports.Read")
    position %= len(good)
    changed = good[:position] + chr(byte) + good[position + 1 :]
    if decoded(changed) != decoded(good):
        refused(changed, tokens, clock)


def decoded(raw: str) -> Any:
    """Base64 has several texts of the same bytes at a part's end: only other bytes are another token."""
    try:
        return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in raw.split(".")]
    except ValueError:
        return raw


# --- whom it is for, of which version, from where ---


@pytest.mark.parametrize(
    "audience",
    ["00000003-0000-0000-c000-000000000000", AUDIENCE.upper(), f"api://{AUDIENCE}", [AUDIENCE], "", 5, None, True],
)
def test_another_audience_is_refused(tokens: TokenFactory, clock: ManualClock, audience: Any) -> None:
    assert "audience" in refused(tokens.token(aud=audience), tokens, clock)


@pytest.mark.parametrize("version", ["1.0", "", 2.0, 2, None, "2.0 "])
def test_another_version_is_refused(tokens: TokenFactory, clock: ManualClock, version: Any) -> None:
    assert "version" in refused(tokens.token(ver=version), tokens, clock)


@pytest.mark.parametrize(
    "directory",
    [
        None, "", 5, [CONTOSO], "common", "organizations", CONTOSO + "/", CONTOSO + "\n", CONTOSO.upper(),
        "{tenantid}", f"{CONTOSO}/../{FABRIKAM}", CONTOSO.replace("-", ""), "٣" + CONTOSO[1:],
    ],
)  # fmt: skip
def test_a_directory_that_is_no_guid_is_refused(tokens: TokenFactory, clock: ManualClock, directory: Any) -> None:
    issuer = tokens.ISSUER.replace("{tenantid}", str(directory))
    assert "names no directory" in refused(tokens.token(tid=directory, iss=issuer), tokens, clock)


@pytest.mark.parametrize(
    "issuer",
    [
        TokenFactory.ISSUER.replace("{tenantid}", FABRIKAM),
        TokenFactory.ISSUER,
        f"https://sts.windows.net/{CONTOSO}/",
        f"https://login.microsoftonline.com/{CONTOSO}/v1.0",
        f"https://login.microsoftonline.com.forger.example/{CONTOSO}/v2.0",
        "", None, 5, [],
    ],
)  # fmt: skip
def test_the_issuer_must_be_the_directory_that_the_token_names(
    tokens: TokenFactory, clock: ManualClock, issuer: Any
) -> None:
    assert "issuer" in refused(tokens.token(CONTOSO, iss=issuer), tokens, clock)


def test_a_key_of_one_directory_signs_for_no_other(tokens: TokenFactory, clock: ManualClock) -> None:
    """The keys of personal accounts are published with an issuer that is fixed."""
    fixed = token.SigningKey(tokens.kid, rsa_key().public_key(), tokens.ISSUER.replace("{tenantid}", FABRIKAM))
    with pytest.raises(BulkheadError, match="issuer"):
        token.verify(tokens.token(CONTOSO), fixed, AUDIENCE, clock.now())
    assert token.verify(tokens.token(FABRIKAM), fixed, AUDIENCE, clock.now())["tid"] == FABRIKAM


# --- when ---


def test_it_expires_at_the_exact_moment(tokens: TokenFactory, clock: ManualClock) -> None:
    raw = tokens.token()
    clock.advance(3600 + SKEW - 0.001)
    check(raw, tokens, clock)
    clock.advance(0.001)
    assert "expired" in refused(raw, tokens, clock)


def test_it_begins_at_the_exact_moment(tokens: TokenFactory, clock: ManualClock) -> None:
    starts = int((clock.now() + timedelta(seconds=600)).timestamp())
    raw = tokens.token(nbf=starts)
    clock.advance(600 - SKEW - 0.001)
    assert "not valid yet" in refused(raw, tokens, clock)
    clock.advance(0.001)
    check(raw, tokens, clock)


@pytest.mark.parametrize("value", [None, "9999999999", [], {}, True, False])
@pytest.mark.parametrize("claim", ["exp", "nbf"])
def test_times_must_be_numbers(tokens: TokenFactory, clock: ManualClock, claim: Any, value: Any) -> None:
    refused(tokens.sign(tokens.claims(**{claim: value})), tokens, clock)


def test_times_may_have_fractions(tokens: TokenFactory, clock: ManualClock) -> None:
    moment = clock.now().timestamp()
    check(tokens.token(nbf=moment - 0.5, exp=moment + 0.5), tokens, clock)


def test_a_number_that_is_none_is_no_time(tokens: TokenFactory, clock: ManualClock) -> None:
    for claim in ("exp", "nbf"):
        refused(tokens.sign(tokens.claims(**{claim: float("nan")})), tokens, clock)


# --- who ---


@pytest.mark.parametrize("value", [None, "", 5, [], {"a": 1}])
@pytest.mark.parametrize(("claim", "named"), [("oid", "no user"), ("azp", "no client")])
def test_a_token_names_its_user_and_its_client(
    tokens: TokenFactory, clock: ManualClock, claim: Any, named: Any, value: Any
) -> None:
    assert named in refused(tokens.token(**{claim: value}), tokens, clock)


def test_a_version_one_client_claim_is_not_read(tokens: TokenFactory, clock: ManualClock) -> None:
    refused(tokens.token(azp=None, appid=FRONT_END), tokens, clock)


@pytest.mark.parametrize("roles", ["Tenant.Admin", {"Tenant.Admin": 1}, [5], ["Tenant.Admin", None], [["x"]], 1, True])
def test_malformed_roles_are_refused(tokens: TokenFactory, clock: ManualClock, roles: Any) -> None:
    assert "roles" in refused(tokens.token(roles=roles), tokens, clock)


def test_groups_and_scopes_are_no_roles(tokens: TokenFactory, clock: ManualClock) -> None:
    caller = check(tokens.token(wids=["Tenant.Admin"], groups=["Tenant.Admin"], scp="Tenant.Admin"), tokens, clock)
    assert caller.roles == frozenset()
