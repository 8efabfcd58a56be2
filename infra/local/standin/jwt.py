"""Access tokens as Entra ID issues them: signing, the published key set, and verification by the resources.

Application tokens for Azure's own resources have the v1.0 form (those resources ask for it whichever endpoint is
used), user tokens for the publisher's API the v2.0 form.
Source: learn.microsoft.com/entra/identity-platform/access-token-claims-reference.
"""

import base64
import hashlib
import json
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from infra.local.standin.wire import World

type Refusal = Literal["malformed", "signature", "expired", "not_yet_valid", "issuer", "audience"]

SKEW = 300  # seconds by which clocks may differ, the usual tolerance of Azure's resources
CACHED_TOKENS = 1024
MANAGED_IDENTITY_LIFETIME = 86_400  # seconds
EXCHANGE = "api://AzureADTokenExchange"  # audience of tokens that stand for an application's credential


class TokenRejected(Exception):  # noqa: N818 - reads better where it is raised
    """A token that is not accepted; `reason` tells which check failed."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Refusal = reason
        self.detail = detail


@dataclass(slots=True, frozen=True)
class Claims:
    """The claims of a verified token."""

    directory_id: str  # tid
    object_id: str  # oid
    client_id: str  # appid in v1.0 tokens, azp in v2.0 tokens
    raw: Mapping[str, Any]


def principal_name(claims: Claims) -> str:
    """The journal's name for the token's bearer: `identity:{name}`, `app:{client_id}` or `user:{oid}`."""
    if resource_id := claims.raw.get("xms_mirid"):
        return f"identity:{str(resource_id).rpartition('/')[2]}"
    if claims.raw.get("idtyp") == "app":
        return f"app:{claims.client_id}"
    return f"user:{claims.object_id}"


def v1_issuer(directory_id: str) -> str:
    """Issuer of v1.0 tokens of a directory."""
    return f"https://sts.windows.net/{directory_id}/"


def v2_issuer(directory_id: str) -> str:
    """Issuer of v2.0 tokens of a directory."""
    return f"https://login.microsoftonline.com/{directory_id}/v2.0"


def base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenIssuer:
    """Signs tokens of every directory with one RSA key, as Entra does, and verifies them for the resources."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._key = self._load_or_create()
        self._public = self._key.public_key()
        numbers = self._public.public_numbers()
        self._modulus = base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8))
        self.key_id = base64url(hashlib.sha256(self._modulus.encode()).digest()[:20])
        self._forger: RSAPrivateKey | None = None
        self._verified: dict[str, Claims] = {}

    def _load_or_create(self) -> RSAPrivateKey:
        stored = dict(self._world.storage.load("entra/signing_key"))
        if stored:
            key = serialization.load_pem_private_key(stored["key"].encode(), None)
            assert isinstance(key, RSAPrivateKey)  # noqa: S101 - written below
            return key
        key = generate_private_key(65537, 2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._world.storage.put("entra/signing_key", "key", pem.decode())
        return key

    def jwks(self, directory_id: str) -> dict[str, Any]:
        """The key set that `discovery/v2.0/keys` publishes for a directory (or `common`, with a template issuer).

        Without the certificate that Entra adds to each key.
        """
        shared = directory_id in {"common", "organizations"}
        return {
            "keys": [
                {
                    "kty": "RSA",
                    "use": "sig",
                    "kid": self.key_id,
                    "n": self._modulus,
                    "e": "AQAB",
                    "cloud_instance_name": "microsoftonline.com",
                    "issuer": v2_issuer("{tenantid}" if shared else directory_id),
                }
            ]
        }

    def app_token(
        self, directory_id: str, resource: str, *, client_id: str, object_id: str, acr: Literal["1", "2"]
    ) -> tuple[str, int]:
        """An application's v1.0 token for `resource` and its lifetime, 60 to 90 minutes, in seconds.

        `acr` tells how the client proved itself: "1" by secret, "2" by certificate.
        """
        lifetime = random.randint(3600, 5400) - 1  # noqa: S311 - spreads renewals, nothing secret
        claims = self._v1_claims(directory_id, resource, client_id, object_id, acr, lifetime)
        return self._issue(claims), lifetime

    def identity_token(
        self, directory_id: str, resource: str, *, client_id: str, object_id: str, resource_id: str
    ) -> tuple[str, int]:
        """A managed identity's token for `resource` and its lifetime in seconds, 24 hours.

        Of version 1.0, but for the exchange, where the issuer is the v2.0 one
        (learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity).
        """
        claims = self._v1_claims(directory_id, resource, client_id, object_id, "2", MANAGED_IDENTITY_LIFETIME)
        if resource == EXCHANGE:
            claims |= {"iss": v2_issuer(directory_id), "ver": "2.0", "azp": client_id, "azpacr": "2"}
            del claims["appid"], claims["appidacr"], claims["idp"]
        claims["xms_mirid"] = resource_id
        return self._issue(claims), MANAGED_IDENTITY_LIFETIME

    def user_token(
        self,
        directory_id: str,
        audience: str,
        *,
        client_id: str,
        object_id: str,
        roles: list[str],
        overrides: Mapping[str, Any] | None = None,
        forged: bool = False,
    ) -> str:
        """A user's v2.0 token for the API `audience`, got through the application `client_id`.

        `overrides` replace claims, a None removes one. `forged` signs with a key that is not published, under the
        published key's id.
        """
        now = int(self._world.now())
        claims: dict[str, Any] = {
            "aud": audience,
            "iss": v2_issuer(directory_id),
            "iat": now,
            "nbf": now,
            "exp": now + random.randint(3600, 5400),  # noqa: S311 - spreads renewals, nothing secret
            "azp": client_id,
            "azpacr": "0",
            "oid": object_id,
            "roles": roles,
            "scp": "access_as_user",
            "sub": base64url(secrets.token_bytes(32)),
            "tid": directory_id,
            "uti": base64url(secrets.token_bytes(16)),
            "ver": "2.0",
        }
        claims |= overrides or {}
        return self._issue({name: value for name, value in claims.items() if value is not None}, forged=forged)

    def _v1_claims(
        self, directory_id: str, resource: str, client_id: str, object_id: str, acr: str, lifetime: int
    ) -> dict[str, Any]:
        now = int(self._world.now())
        return {
            "aud": resource,
            "iss": v1_issuer(directory_id),
            "iat": now,
            "nbf": now,
            "exp": now + lifetime,
            "appid": client_id,
            "appidacr": acr,
            "idp": v1_issuer(directory_id),
            "idtyp": "app",
            "oid": object_id,
            "sub": object_id,
            "tid": directory_id,
            "uti": base64url(secrets.token_bytes(16)),
            "ver": "1.0",
        }

    def _issue(self, claims: Mapping[str, Any], *, forged: bool = False) -> str:
        key = self._key
        if forged:
            self._forger = key = self._forger or generate_private_key(65537, 2048)
        token = jwt.encode(dict(claims), key, algorithm="RS256", headers={"kid": self.key_id})
        self._world.secrets.add("access_token", token)
        return token

    def verify(self, token: str, *audiences: str) -> Claims:
        """The claims of `token`, issued by this issuer, in force now and meant for one of `audiences`.

        A trailing slash of an audience is not significant. Raises TokenRejected. Results are cached by token, so
        that a request with a known token costs no signature check; times and audience are checked each time.
        """
        claims = self._verified.get(token)
        if claims is None:
            claims = self._read(token)
            if len(self._verified) >= CACHED_TOKENS:
                del self._verified[next(iter(self._verified))]
            self._verified[token] = claims
        now = self._world.now()
        if claims.raw["exp"] + SKEW < now:
            raise TokenRejected("expired", f"expired at {claims.raw['exp']}, now {int(now)}")
        if claims.raw.get("nbf", 0) - SKEW > now:
            raise TokenRejected("not_yet_valid", f"valid from {claims.raw['nbf']}, now {int(now)}")
        audience = str(claims.raw.get("aud", ""))
        if audience.rstrip("/") not in {accepted.rstrip("/") for accepted in audiences}:
            raise TokenRejected("audience", f"meant for '{audience}'")
        return claims

    def _read(self, token: str) -> Claims:
        unchecked: Any = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        try:
            if jwt.get_unverified_header(token).get("kid") != self.key_id:
                raise TokenRejected("signature", "signed with a key that is not published")
            raw: dict[str, Any] = jwt.decode(token, self._public, algorithms=["RS256"], options=unchecked)
        except jwt.InvalidSignatureError:
            raise TokenRejected("signature", "the signature does not verify") from None
        except (jwt.InvalidTokenError, json.JSONDecodeError) as error:
            raise TokenRejected("malformed", str(error)) from None
        directory_id = str(raw.get("tid", ""))
        if not isinstance(raw.get("exp"), int):
            raise TokenRejected("malformed", "no expiry")
        if raw.get("iss") not in {v1_issuer(directory_id), v2_issuer(directory_id)}:
            raise TokenRejected("issuer", f"issuer '{raw.get('iss')}' is not that of directory '{directory_id}'")
        client_id = str(raw.get("appid") or raw.get("azp") or "")
        return Claims(directory_id, str(raw.get("oid", "")), client_id, raw)
