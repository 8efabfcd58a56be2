"""Authorization headers of the data plane: parsing them, computing and checking the signature with an account key.

Source: learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources; azure-cosmos `auth.py`.
"""

import base64
import hashlib
import hmac
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import unquote

from infra.local.standin.cosmos.accounts import KEY_KINDS, Account, KeyKind
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.links import Link

SKEW = 15 * 60  # seconds by which x-ms-date may differ from the service's clock


def parse_authorization(header: str | None) -> tuple[str, str]:
    """Kind and signature of `type={kind}&ver=1.0&sig={signature}`, percent-decoded.

    Raises CosmosError 401 when the header is missing or malformed.
    """
    if not header:
        raise CosmosError(
            401, "Required Header authorization is missing. Ensure a valid Authorization token is passed."
        )
    parts = dict(part.partition("=")[::2] for part in unquote(header).split("&", 2))
    if parts.keys() != {"type", "ver", "sig"} or parts["ver"] != "1.0":
        raise CosmosError(
            401,
            "The input authorization token can't serve the request. The authorization header has an invalid format.",
        )
    return parts["type"], parts["sig"]


def string_to_sign(verb: str, link: Link, date: str) -> str:
    """What a key signs. `date` is x-ms-date as sent; the fifth line is the unused `date` header."""
    return f"{verb.lower()}\n{link.resource_type.lower()}\n{link.resource_link}\n{date.lower()}\n\n"


def sign(key: bytes, text: str) -> str:
    """base64(HMAC-SHA256(key, text))."""
    return base64.b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode()


def verify_signature(account: Account, signature: str, text: str, date: str, now: float) -> KeyKind:
    """Which of the account's keys in force made the signature of a string to sign with this date.

    Raises CosmosError 401 when none did or the date is missing, 403 when it is more than 15 minutes off.
    """
    try:
        moment = _timestamp(date)
    except ValueError:
        raise CosmosError(
            401, "The input date header is invalid format. Please pass in RFC 1123 style date format."
        ) from None
    if abs(now - moment) > SKEW:
        raise CosmosError(
            403,
            "The authorization token is not valid at the current time. Please create another token and retry "
            f"(token start time: {date}).",
        )
    for kind in KEY_KINDS:
        if hmac.compare_digest(sign(account.key_bytes(kind), text).encode(), signature.encode()):
            return kind
    raise wrong_key(text)


def wrong_key(text: str) -> CosmosError:
    """401 as the service words it; it tells the text that it expected to be signed."""
    return CosmosError(
        401,
        "The input authorization token can't serve the request. The wrong key is being used or the expected payload "
        "is not built as per the protocol. For more info: https://aka.ms/cosmosdb-tsg-unauthorized. "
        f"Server used the following payload to sign: '{text}'",
    )


@lru_cache(maxsize=64)
def _timestamp(date: str) -> float:
    return parsedate_to_datetime(date).timestamp()
