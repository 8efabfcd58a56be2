"""Shared access signatures, and what they grant to the connection whose $cbs node they are put into.

Source: learn.microsoft.com, service-bus-sas ("generate a shared access signature token"): the signature is
base64(HMAC-SHA256(key, sr, newline, se)) with `sr` as it stands, encoded, in the token.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import unquote_plus, urlsplit

from infra.local.standin.service_bus.errors import Refusal

SIGNATURE_PREFIX = "SharedAccessSignature "


@dataclass(frozen=True, slots=True)
class Grant:
    """Access to every entity under `path` ("" is the whole namespace) until `expires_at`, for `principal`."""

    path: str
    expires_at: float
    principal: str

    def covers(self, path: str, now: float) -> bool:
        """Whether it gives access to the entity at `path` now."""
        return self.expires_at > now and _is_within(path.lower(), self.path)


def verify_signature(token: str, audience: str, keys: dict[str, str], now: float) -> Grant:
    """The grant that a shared access signature gives for `audience`. Raises Refusal with Azure's codes."""
    try:
        fields = dict(part.split("=", 1) for part in token.removeprefix(SIGNATURE_PREFIX).split("&"))
        resource, expiry, name = fields["sr"], int(fields["se"]), unquote_plus(fields["skn"])
        signature = base64.b64decode(unquote_plus(fields["sig"]), validate=True)
    except (KeyError, ValueError) as error:  # of which binascii.Error is one
        raise _refused("MalformedToken", "The credential is malformed.") from error
    key = keys.get(name, "")
    expected = hmac.digest(key.encode(), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    if not key or not hmac.compare_digest(expected, signature):
        raise _refused("InvalidSignature", "The token has an invalid signature.")
    if expiry <= now:
        raise _refused("ExpiredToken", "The token is expired.")
    wanted = _path(audience)
    if not _is_within(wanted, _path(unquote_plus(resource))):
        raise _refused("InvalidAudience", "The authorization header contains a token with a wrong audience.")
    return Grant(wanted, float(expiry), f"sas:{name}")


def _path(uri: str) -> str:
    return urlsplit(uri).path.strip("/").lower()


def _is_within(path: str, granted: str) -> bool:
    return granted in ("", path) or path.startswith(granted + "/")


def _refused(code: str, text: str) -> Refusal:
    return Refusal(401, f"{code}: {text}", "com.microsoft:auth-failed")
