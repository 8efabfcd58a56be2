"""Orders that tenants' own systems put on the queue: a compact JWS, signed with a key that the tenant registered.

What the message says of itself is not believed before its signature is verified: the issuer only finds the keys,
and the algorithm is the registered key's, never the header's (RFC 8725, section 3.1).
"""

import re
from datetime import datetime
from typing import Any, NewType

import jwt
import msgspec

from shared.core.caller import MessageCaller
from shared.core.ids import DirectoryId, TenantId
from shared.core.text import GUID
from shared.tenants.models import SigningKey, Tenant

_LONGEST_LIFE = 24 * 3600  # seconds from iat to exp
_SKEW = 60
_LONGEST_MESSAGE = 16_384

Reason = NewType("Reason", str)

OF_THE_REGISTRY = frozenset(
    {"unknown_issuer", "unknown_key", "bad_signature", "unknown_tenant", "ambiguous_tenant", "tenant_locked"}
)
"""Reasons that lie in the tenants given: with newer ones of the registry the message may be accepted."""


class RejectedRequestError(Exception):
    """The message is not accepted. `reason` is a fixed word, nothing of the message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = Reason(reason)


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    iss: str
    aud: str
    jti: str
    iat: int
    exp: int
    nbf: int | None = None
    candidate_id: str
    package: str
    tenant: str | None = None


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A verified order."""

    caller: MessageCaller
    tenant_id: TenantId
    jti: str
    issued_at: int  # seconds since the epoch
    candidate_id: str
    package: str


def issuer(message: str) -> DirectoryId:
    """The directory that the message claims to come from: only good for finding keys. Raises RejectedRequestError."""
    if len(message) > _LONGEST_MESSAGE:
        raise RejectedRequestError("too_long")
    try:
        claims = jwt.decode(message, options={"verify_signature": False})
    except jwt.InvalidTokenError as error:
        raise RejectedRequestError("malformed") from error
    if not isinstance(claims.get("iss"), str):
        raise RejectedRequestError("malformed")
    if not re.fullmatch(GUID, claims["iss"]):  # the registry is not asked, and remembers nothing of it
        raise RejectedRequestError("unknown_issuer")
    return DirectoryId(claims["iss"].lower())


def verify(message: str, tenants: tuple[Tenant, ...], audience: str, now: datetime) -> SignedRequest:
    """Verify `message` against the keys of `tenants`, all of the directory that it names.

    Raises RejectedRequestError with one of: unknown_issuer, unknown_key, bad_signature, malformed, wrong_audience,
    expired, not_yet_valid, too_long_lived, unknown_tenant, ambiguous_tenant, tenant_locked.
    """
    if not tenants:
        raise RejectedRequestError("unknown_issuer")
    try:
        kid = jwt.get_unverified_header(message).get("kid")
    except jwt.InvalidTokenError as error:
        raise RejectedRequestError("malformed") from error
    # 1. The key is one that a tenant of this directory registered.
    signers = [(tenant, key) for tenant in tenants for key in tenant.signing_keys if key.kid == kid]
    if not signers:
        raise RejectedRequestError("unknown_key")
    # 2. The signature, by the registered key's algorithm. Several tenants may have registered the same key.
    raw: dict[str, Any] = {}
    owners: list[Tenant] = []
    for tenant, key in signers:
        try:
            raw = jwt.decode(message, public_key(key), algorithms=[key.alg], options=_SIGNATURE_ONLY)
        except (jwt.InvalidTokenError, ValueError):
            continue
        owners.append(tenant)
    if not owners:
        raise RejectedRequestError("bad_signature")
    return _checked(raw, owners, signers[0][1].kid, audience, now)


_SIGNATURE_ONLY: Any = {
    "verify_signature": True,
    # Checked below, against our clock.
    "verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False, "verify_iss": False,
    "verify_sub": False, "verify_jti": False,
}  # fmt: skip


def _checked(raw: dict[str, Any], owners: list[Tenant], kid: str, audience: str, now: datetime) -> SignedRequest:
    try:
        claims = msgspec.convert(raw, _Claims)
        msgspec.json.encode(claims)  # fails for half a character, which JSON can write and no text can have
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise RejectedRequestError("malformed") from error
    if not 1 <= len(claims.jti) <= 255 or claims.iss.lower() != owners[0].directory_id:
        raise RejectedRequestError("malformed")
    # 3. It is for us.
    if claims.aud != audience:
        raise RejectedRequestError("wrong_audience")
    # 4. It is in force, and was not made to last.
    moment = now.timestamp()
    if moment >= claims.exp + _SKEW:
        raise RejectedRequestError("expired")
    if max(claims.iat, claims.nbf or 0) > moment + _SKEW:
        raise RejectedRequestError("not_yet_valid")
    if claims.exp - claims.iat > _LONGEST_LIFE:
        raise RejectedRequestError("too_long_lived")
    # 5. It is for a tenant that registered this very key, and may order.
    owner = _owner(claims.tenant, owners)
    return SignedRequest(
        caller=MessageCaller(owner.directory_id, kid),
        tenant_id=owner.id,
        jti=claims.jti,
        issued_at=claims.iat,
        candidate_id=claims.candidate_id,
        package=claims.package,
    )


def _owner(named: str | None, owners: list[Tenant]) -> Tenant:
    """Of several owners of a key, the one that the message names."""
    if named is not None:
        owners = [owner for owner in owners if owner.id == named]
        if not owners:
            raise RejectedRequestError("unknown_tenant")
    if len(owners) > 1:
        raise RejectedRequestError("ambiguous_tenant")
    (owner,) = owners
    if owner.status != "active":
        raise RejectedRequestError("tenant_locked")
    return owner


def public_key(key: SigningKey) -> Any:
    """The key object of a registered JWK. Raises ValueError when it is no public key of its algorithm."""
    forms = {"EdDSA": ("OKP", "Ed25519"), "ES256": ("EC", "P-256"), "RS256": ("RSA", None), "PS256": ("RSA", None)}
    if (key.kty, key.crv) != forms[key.alg]:
        raise ValueError("type and algorithm do not match")
    try:
        loaded = jwt.PyJWK(msgspec.to_builtins(key), algorithm=key.alg).key
    except jwt.PyJWTError as error:
        raise ValueError("not a key") from error
    if key.kty == "RSA" and not 2048 <= loaded.key_size <= 8192:  # NIST SP 800-131A; longer ones only cost time
        raise ValueError("too short or too long")
    return loaded
