"""A value that must not be seen: account keys, daemon credentials, tokens.

It is masked wherever Python would show it, cannot be pickled, copied or serialised, and can be forgotten.
"""

import hashlib
import hmac
from typing import NoReturn, Self

_MASK = "Secret(***)"


class SecretForgottenError(RuntimeError):
    """The value was asked for after `forget`."""


class Secret:
    """Holds one secret text until `forget`. Only `reveal` gives it out, so its uses can be found by that name."""

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str) -> None:
        if not value:
            raise ValueError("a secret is never empty")
        self._value: str | None = value

    def reveal(self) -> str:
        """The value. Raises SecretForgottenError after `forget`."""
        if self._value is None:
            raise SecretForgottenError("this secret was forgotten")
        return self._value

    def forget(self) -> None:
        """Drop the value. Python cannot overwrite it in memory; no reference from here keeps it any more."""
        self._value = None

    @property
    def forgotten(self) -> bool:
        """Whether the value was dropped."""
        return self._value is None

    def fingerprint(self, label: str) -> str:
        """A stable name for the value that does not tell it: HMAC-SHA256 keyed with the value, over `label`.

        Account keys have 512 random bits, so the value cannot be searched for. 16 hexadecimal digits.
        """
        return hmac.digest(self.reveal().encode(), f"fingerprint:{label}".encode(), hashlib.sha256).hex()[:16]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __repr__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return _MASK

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied")

    def __copy__(self) -> Self:
        raise TypeError("a secret cannot be copied")

    def __deepcopy__(self, memo: object) -> Self:
        raise TypeError("a secret cannot be copied")
