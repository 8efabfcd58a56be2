"""Access tokens as Entra ID issues them: signing, the published key set, and verification by the resources.

Application tokens for Azure's own resources have the v1.0 form (those resources ask for it whichever endpoint is
used), user tokens for the publisher's API the v2.0 form.
Source: learn.microsoft.com/entra/identity-platform/access-token-claims-reference.
"""

import hashlib
import json
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import RSAAlgorithm
from jwt.utils import base64url_encode

from infra.local.standin.certificates import key_pem, new_key
from infra.local.standin.wire import Call, World

type Refusal = Literal["missing", "malformed", "signature", "expired", "not_yet_valid", "issuer", "audience"]

SKEW = 300  # seconds by which clocks may differ, the usual tolerance of Azure's resources
MANAGED_IDENTITY_LIFETIME = 86_400  # seconds
EXCHANGE = "api://AzureADTokenExchange"  # audience of tokens that stand for an application's credential
SHARED_DIRECTORIES = frozenset({"common", "organizations"})
# PyJWT looks at the signature alone: what else there is to check needs the stand-in's clock and Azure's words.
UNCHECKED: Any = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}


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
    """Issuer of v2.0 tokens of a directory; a template for the shared ones."""
    named = "{tenantid}" if directory_id in SHARED_DIRECTORIES else directory_id
    return f"https://login.microsoftonline.com/{named}/v2.0"


class TokenIssuer:
    """Signs tokens of every directory with one RSA key, as Entra does, and verifies them for the resources."""

    def __init__(self, world: World) -> None:
        self._world = world
        pem = world.storage.kept("entra/signing_key", "key", lambda: key_pem(new_key()))
        key = load_pem_private_key(pem.encode(), None)
        assert isinstance(key, RSAPrivateKey)  # noqa: S101 - made so
        self._key, self._public = key, key.public_key()
        self._modulus = RSAAlgorithm.to_jwk(self._public, as_dict=True)["n"]
        self.key_id = base64url_encode(hashlib.sha256(self._modulus.encode()).digest()[:20]).decode()
        self._forger: RSAPrivateKey | None = None
        # Cached by token, so that a request with a known token costs no signature check.
        self._claims_of = lru_cache(maxsize=1024)(self._read)

    def jwks(self, directory_id: str) -> dict[str, Any]:
        """The key set that `discovery/v2.0/keys` publishes for a directory (or `common`, with a template issuer).

        Without the certificate that Entra adds to each key.
        """
        key = {"kty": "RSA", "use": "sig", "kid": self.key_id, "n": self._modulus, "e": "AQAB"}
        return {"keys": [key | {"cloud_instance_name": "microsoftonline.com", "issuer": v2_issuer(directory_id)}]}

    def app_token(
        self,
        directory_id: str,
        resource: str,
        *,
        client_id: str,
        object_id: str,
        acr: Literal["1", "2"],
        resource_id: str | None = None,
    ) -> tuple[str, int]:
        """A service principal's token for `resource`, and its lifetime in seconds.

        60 to 90 minutes for an application; 24 hours for a managed identity, which `resource_id` names. `acr` tells how
        the client proved itself: "1" by secret, "2" by certificate. The form is that of version 1.0, but for the
        exchange, where the issuer is the v2.0 one
        (learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity).
        """
        lifetime = MANAGED_IDENTITY_LIFETIME if resource_id else random.randint(3599, 5399)  # noqa: S311 - no secret
        claims = self._claims(directory_id, resource, object_id, lifetime) | {"idtyp": "app", "sub": object_id}
        if resource == EXCHANGE:
            claims |= {"iss": v2_issuer(directory_id), "azp": client_id, "azpacr": acr, "ver": "2.0"}
        else:
            issuer = v1_issuer(directory_id)
            claims |= {"iss": issuer, "idp": issuer, "appid": client_id, "appidacr": acr, "ver": "1.0"}
        if resource_id:
            claims["xms_mirid"] = resource_id
        return self._issue(claims), lifetime

    def user_token(
        self,
        directory_id: str,
        audience: str,
        *,
        client_id: str,
        object_id: str,
        roles: list[str],
        overrides: Mapping[str, Any],
        forged: bool = False,
    ) -> str:
        """A user's v2.0 token for the API `audience`, got through the application `client_id`.

        `overrides` replace claims, a None removes one. `forged` signs with a key that is not published, under the
        published key's id.
        """
        lifetime = random.randint(3600, 5400)  # noqa: S311 - spreads renewals, nothing secret
        claims = self._claims(directory_id, audience, object_id, lifetime) | {
            "iss": v2_issuer(directory_id),
            "azp": client_id,
            "azpacr": "0",
            "roles": roles,
            "scp": "access_as_user",
            "sub": secrets.token_urlsafe(32),
            "ver": "2.0",
        }
        claims |= overrides
        return self._issue({name: value for name, value in claims.items() if value is not None}, forged=forged)

    def _claims(self, directory_id: str, audience: str, object_id: str, lifetime: int) -> dict[str, Any]:
        """What every token says."""
        now, uti = int(self._world.now()), secrets.token_urlsafe(16)
        times = {"iat": now, "nbf": now, "exp": now + lifetime}
        return {"aud": audience, "oid": object_id, "tid": directory_id, "uti": uti} | times

    def _issue(self, claims: dict[str, Any], *, forged: bool = False) -> str:
        key = self._key
        if forged:
            self._forger = key = self._forger or new_key()
        token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": self.key_id})
        self._world.secrets.add("access_token", token)
        return token

    def bearer(self, call: Call, *audiences: str) -> Claims:
        """The claims of the token that `call` bears; its principal is named in `call`. Raises TokenRejected."""
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise TokenRejected("missing", "no bearer token")
        claims = self.verify(token, *audiences)
        call.principal = principal_name(claims)
        return claims

    def verify(self, token: str, *audiences: str) -> Claims:
        """The claims of `token`, issued by this issuer, in force now and meant for one of `audiences`.

        A trailing slash of an audience is not significant. Raises TokenRejected. Times and audience are checked each
        time.
        """
        claims, now = self._claims_of(token), self._world.now()
        if claims.raw["exp"] + SKEW < now:
            raise TokenRejected("expired", f"expired at {claims.raw['exp']}, now {int(now)}")
        if claims.raw.get("nbf", 0) - SKEW > now:
            raise TokenRejected("not_yet_valid", f"valid from {claims.raw['nbf']}, now {int(now)}")
        audience = str(claims.raw.get("aud", ""))
        if audience.rstrip("/") not in {accepted.rstrip("/") for accepted in audiences}:
            raise TokenRejected("audience", f"meant for '{audience}'")
        return claims

    def _read(self, token: str) -> Claims:
        try:
            if jwt.get_unverified_header(token).get("kid") != self.key_id:
                raise TokenRejected("signature", "signed with a key that is not published")
            raw: dict[str, Any] = jwt.decode(token, self._public, algorithms=["RS256"], options=UNCHECKED)
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
