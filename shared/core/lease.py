"""A lease: the right to sign requests to one tenant's Cosmos DB account, for one purpose, for a short time.

The key never leaves the lease. Whoever works on the account asks the lease to sign each request at the moment of
sending; when the lease has ended or is too old, it signs nothing more and holds no key.
"""

import hashlib
import hmac
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from shared.core.ids import LeaseId
from shared.core.secret import Secret

type KeyKind = Literal["primary", "secondary", "primary_readonly", "secondary_readonly"]

# The first kind is used unless the account has just refused it; then the other one is.
WRITING: tuple[KeyKind, ...] = ("primary", "secondary")
READING: tuple[KeyKind, ...] = ("primary_readonly", "secondary_readonly")


class LeaseEndedError(RuntimeError):
    """The lease was asked to sign after its end, or for another account."""


class LeaseExpiredError(LeaseEndedError):
    """The lease is beyond its maximum age; it has forgotten its key and may be renewed."""


@dataclass(frozen=True, slots=True)
class LeaseLimits:
    """How long what may live. Seconds."""

    max_age: float  # of a key in use, before it is listed again
    keep_key: float  # most that a key gets old when the budget forces it to be kept
    keep_token: float  # most that the daemon's token is kept when the budget forces it
    patience: float  # longest that an invocation waits for its key


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why a lease is asked for. Goes into the access record, so it holds ids only, never personal data."""

    actor: str
    action: str
    object_id: str
    request_id: str
    writes: bool


@dataclass(frozen=True, slots=True)
class AccountKey:
    """One key of an account: which of the four it is, and its name that does not tell it."""

    kind: KeyKind
    secret: Secret
    fingerprint: str


class Keyring:
    """The keys of one account as they were listed at one moment. `forget` drops them, wherever they are in use."""

    __slots__ = ("_keys",)

    def __init__(self, account: str, listed: Iterable[tuple[KeyKind, Secret]]) -> None:
        """`account` is its resource id: fingerprints of one key at two accounts differ."""
        self._keys = tuple(AccountKey(kind, secret, secret.fingerprint(account)) for kind, secret in listed)

    def choose(self, kinds: tuple[KeyKind, ...], refused: Collection[str] = ()) -> AccountKey | None:
        """The first key of `kinds` whose fingerprint is not among those that the account `refused`."""
        for kind in kinds:
            for key in self._keys:
                if key.kind == kind and key.fingerprint not in refused:
                    return key
        return None

    def forget(self) -> None:
        """Drop all keys. A lease that still holds one of them signs nothing more. May be called again."""
        for key in self._keys:
            key.secret.forget()
        self._keys = ()


class Lease:
    """Signs requests to `endpoint` until `end` is called or its key is too old by `monotonic` time."""

    __slots__ = ("_ended", "_endpoint", "_expires", "_key", "_monotonic", "id", "purpose")

    def __init__(
        self,
        lease_id: LeaseId,
        endpoint: str,
        purpose: Purpose,
        monotonic: Callable[[], float],
    ) -> None:
        self.id = lease_id
        self.purpose = purpose
        self._endpoint = endpoint
        self._monotonic = monotonic
        self._key: AccountKey | None = None
        self._expires = 0.0
        self._ended = False

    def hold(self, key: AccountKey, until: float) -> None:
        """Sign with `key` until that monotonic time. Raises LeaseEndedError after the end: it stays ended."""
        if self._ended:
            raise LeaseEndedError("this lease has ended")
        self._key = key
        self._expires = until

    @property
    def ended(self) -> bool:
        """Whether it is over for good."""
        return self._ended

    @property
    def live(self) -> bool:
        """Whether the lease signs now."""
        return self._key is not None and not self._key.secret.forgotten and self._monotonic() < self._expires

    def sign(self, endpoint: str, verb: str, resource_type: str, resource_link: str, date: str) -> str:
        """The Authorization header for one request to Cosmos DB.

        `date` is the request's x-ms-date. Raises LeaseEndedError, also when `endpoint` is not the lease's own, and
        LeaseExpiredError beyond the maximum age or when the key was taken away meanwhile.
        Form: "Access control on Azure Cosmos DB resources" (REST reference).
        """
        if endpoint != self._endpoint:
            raise LeaseEndedError("this lease is for another account")
        if self._ended:
            raise LeaseEndedError("this lease has ended")
        if self._key is None or not self.live:
            self._key = None
            raise LeaseExpiredError("this lease is beyond its maximum age")
        text = f"{verb.lower()}\n{resource_type.lower()}\n{resource_link}\n{date.lower()}\n\n"
        # binascii, not base64: it is not written in Python, so no frame of an error's traceback has the key.
        digest = hmac.digest(a2b_base64(self._key.secret.reveal()), text.encode(), hashlib.sha256)
        return quote(f"type=master&ver=1.0&sig={b2a_base64(digest, newline=False).decode()}", safe="-_.!~*'()")

    def end(self) -> None:
        """Forget the key, for good. May be called again."""
        self._ended = True
        self._key = None
