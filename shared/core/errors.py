"""The errors that leave Bulkhead's own code. entrypoints/problems.py maps each kind to an HTTP status."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What went wrong, as the caller needs to know it."""

    INVALID = "invalid"  # malformed input
    UNPROCESSABLE = "unprocessable"  # well-formed input that breaks a rule
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"  # also: another tenant's object
    NOT_ALLOWED = "not_allowed"  # a method that the route does not take
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition_failed"
    PRECONDITION_REQUIRED = "precondition_required"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"  # try again later
    BROKEN = "broken"  # an operator must act


@dataclass(frozen=True, slots=True)
class FieldError:
    """One faulty field of an input: a JSON pointer and what is expected there. Never the value."""

    pointer: str
    detail: str


class BulkheadError(Exception):
    """The one base of all expected errors.

    `code` is stable and machine-readable; `detail` is for people and carries neither secrets nor input.
    `retry_after` is in seconds.
    """

    def __init__(
        self,
        kind: Kind,
        code: str,
        detail: str,
        *,
        retry_after: float | None = None,
        fields: tuple[FieldError, ...] = (),
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.kind = kind
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.fields = fields


def bare[E: Exception](error: E) -> E:
    """`error` without traceback and causes: through them it keeps what was sent alive, a credential among it."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def not_found(noun: str) -> BulkheadError:
    """The answer for an object that is absent or another tenant's: the two must look the same."""
    return BulkheadError(Kind.NOT_FOUND, "not_found", f"There is no such {noun}.")


def not_valid(*faults: FieldError) -> BulkheadError:
    """The answer for values that break rules, which names each."""
    return BulkheadError(Kind.UNPROCESSABLE, "validation_failed", "The request is not valid.", fields=faults)
