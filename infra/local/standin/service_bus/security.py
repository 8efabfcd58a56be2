"""Shared access signatures, and what a connection has been granted by the tokens put into its $cbs node.

Source: learn.microsoft.com, service-bus-sas ("generate a shared access signature token"): the signature is
base64(HMAC-SHA256(key, sr, newline, se)) with `sr` as it stands, encoded, in the token.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from urllib.parse import unquote_plus, urlsplit

from infra.local.standin.service_bus.errors import Refusal

SIGNATURE_PREFIX = "SharedAccessSignature "


@dataclass(frozen=True, slots=True)
class Grant:
    """Access to every entity under `path` ("" is the whole namespace) until `expires_at`, for `principal`."""

    path: str
    expires_at: float
    principal: str


@dataclass(slots=True)
class Grants:
    """The grants of one connection."""

    _grants: list[Grant] = field(default_factory=list)

    def add(self, grant: Grant) -> None:
        """A token was accepted; it replaces an earlier one for the same path."""
        self._grants = [known for known in self._grants if known.path != grant.path] + [grant]

    def principal(self, path: str, now: float) -> str | None:
        """Who may use the entity at `path` by the tokens in force, or None."""
        wanted = path.lower()
        for grant in self._grants:
            if grant.expires_at > now and _covers(grant.path, wanted):
                return grant.principal
        return None


def verify_signature(token: str, audience: str, keys: dict[str, str], now: float) -> Grant:
    """The grant that a shared access signature gives for `audience`. Raises Refusal with Azure's codes."""
    if not token.startswith(SIGNATURE_PREFIX):
        raise _refused("MalformedToken", "The credential is malformed.")
    fields = dict(part.partition("=")[::2] for part in token.removeprefix(SIGNATURE_PREFIX).split("&"))
    try:
        resource, expiry = fields["sr"], int(fields["se"])
        name = unquote_plus(fields["skn"])
        signature = base64.b64decode(unquote_plus(fields["sig"]), validate=True)
    except (KeyError, ValueError, binascii.Error) as error:
        raise _refused("MalformedToken", "The credential is malformed.") from error
    key = keys.get(name, "")
    expected = hmac.digest(key.encode(), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    if not key or not hmac.compare_digest(expected, signature):
        raise _refused("InvalidSignature", "The token has an invalid signature.")
    if expiry <= now:
        raise _refused("ExpiredToken", "The token is expired.")
    granted, wanted = _path(unquote_plus(resource)), _path(audience)
    if not _covers(granted, wanted):
        raise _refused("InvalidAudience", "The authorization header contains a token with a wrong audience.")
    return Grant(wanted, float(expiry), f"sas:{name}")


def _path(uri: str) -> str:
    return urlsplit(uri).path.strip("/").lower()


def _covers(granted: str, wanted: str) -> bool:
    return granted in ("", wanted) or wanted.startswith(granted + "/")


def _refused(code: str, text: str) -> Refusal:
    return Refusal(401, "com.microsoft:auth-failed", f"{code}: {text}")
