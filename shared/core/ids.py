"""Names of things: a prefix and a unique part that sorts by time."""

import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NewType

TenantId = NewType("TenantId", str)
DirectoryId = NewType("DirectoryId", str)  # an Entra ID directory ("tenant" in Microsoft's words)
LeaseId = NewType("LeaseId", str)
RequestId = NewType("RequestId", str)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_LENGTH = 26
UNIQUE = f"[{_ALPHABET}]{{{_LENGTH}}}"  # a regular expression: the part of an id after its prefix


def new_id(prefix: str, moment: datetime, entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """`prefix_` and 26 characters: 48 bits of milliseconds, then 80 bits of `entropy` (the layout of a ULID)."""
    return _encode(prefix, moment, entropy(10))


def derived_id(prefix: str, moment: datetime, *parts: str) -> str:
    """The id that belongs to `parts`, always the same: what arrives twice makes one object.

    The parts are joined with their lengths, so that ("ab", "c") and ("a", "bc") differ.
    """
    text = "".join(f"{len(part)}:{part}" for part in (prefix, *parts))
    return _encode(prefix, moment, hashlib.sha256(text.encode()).digest()[:10])


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the form of an id with `prefix`."""
    return re.fullmatch(f"{prefix}_{UNIQUE}", text) is not None


def _encode(prefix: str, moment: datetime, unique: bytes) -> str:
    number = int(moment.astimezone(UTC).timestamp() * 1000) << 80 | int.from_bytes(unique)
    return f"{prefix}_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))
