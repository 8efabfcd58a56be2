"""Verification of Entra ID v2.0 access tokens. Pure: the key and the time are handed in.

Follows Microsoft's "Access tokens in the Microsoft identity platform" (validate tokens) step by step.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType, TypeGuard

import jwt

from shared.core.caller import ClientId, TokenCaller
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import DirectoryId

VerifiedClaims = NewType("VerifiedClaims", Mapping[str, Any])
"""Claims whose signature and time were checked; only `verify` makes them."""

_SKEW_SECONDS = 60  # clocks of two well-kept machines differ by less
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of Entra ID's key set. `issuer` is the template that Entra publishes beside it."""

    kid: str
    public_key: Any
    issuer: str


def key_id(token: str) -> str:
    """The `kid` of a token that is not verified yet, to look its key up.

    Only RS256 is spoken by Entra ID; refusing others here stops `none` and the confusion of HMAC with a public key.
    """
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, UnicodeEncodeError) as error:  # the latter: a header of bytes that are no text
        raise _refused("The token is malformed.") from error
    if header.get("alg") != "RS256":
        raise _refused("The token's algorithm is not accepted.")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _refused("The token names no key.")
    return kid


def verify(token: str, key: SigningKey, audience: str, now: datetime) -> VerifiedClaims:
    """Check a token against its key. Raises BulkheadError (unauthenticated) at the first check that fails."""
    # 1. The signature, with the one algorithm.
    try:
        claims = jwt.decode(
            token,
            key.public_key,
            algorithms=["RS256"],
            options={
                "verify_signature": True,
                # Each claim is checked below, against our clock, so that every check can be read here.
                "verify_exp": False, "verify_nbf": False, "verify_iat": False,
                "verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False,
            },
        )  # fmt: skip
    except jwt.InvalidTokenError as error:
        raise _refused("The token's signature is not valid.") from error
    # 2. It is for us: a token for another API of the same caller must not work here.
    if claims.get("aud") != audience:
        raise _refused("The token is for another audience.")
    # 3. It is of the version whose claims are read below.
    if claims.get("ver") != "2.0":
        raise _refused("The token is not of version 2.0.")
    # 4. It comes from the directory that it names: the key's issuer template binds `iss` to `tid`.
    directory = claims.get("tid")
    if not isinstance(directory, str) or not _GUID.fullmatch(directory):
        raise _refused("The token names no directory.")
    if claims.get("iss") != key.issuer.replace("{tenantid}", directory):
        raise _refused("The token's issuer is not its directory.")
    # 5. It is in force. Said so that NaN, which JSON readers let pass, is refused too.
    moment = now.timestamp()
    expires, starts = claims.get("exp"), claims.get("nbf")
    if not (_is_number(expires) and moment < expires + _SKEW_SECONDS):
        raise _refused("The token has expired.")
    if not (_is_number(starts) and moment >= starts - _SKEW_SECONDS):
        raise _refused("The token is not valid yet.")
    return VerifiedClaims(claims)


def caller(claims: VerifiedClaims) -> TokenCaller:
    """The caller that verified claims describe. A missing `oid` or `azp` refuses; missing roles are no roles."""
    object_id, client_id, roles = claims.get("oid"), claims.get("azp"), claims.get("roles", [])
    if not isinstance(object_id, str) or not object_id:
        raise _refused("The token names no user or application.")
    if not isinstance(client_id, str) or not client_id:
        raise _refused("The token names no client application.")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise _refused("The token's roles are malformed.")
    return TokenCaller(DirectoryId(claims["tid"]), object_id, ClientId(client_id), frozenset(roles))


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(detail: str) -> BulkheadError:
    return BulkheadError(Kind.UNAUTHENTICATED, "invalid_token", detail)
