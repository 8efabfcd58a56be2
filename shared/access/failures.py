"""How the five steps fail, and what the broker does about each way. The one table of this decision."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from shared.core.errors import BulkheadError, Kind

type Step = Literal[1, 2, 3, 5]  # 3 and 4 are one exchange with Resource Manager: the request and its answer


class Failure(StrEnum):
    """The class of a failure, told by status and error code, never by a message's text."""

    CREDENTIAL_REJECTED = "credential_rejected"  # rotated since it was read, or not yet known everywhere
    DENIED = "denied"  # the right was taken away, or has not spread yet
    NOT_FOUND = "not_found"  # credential, daemon application or account does not exist
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    MISCONFIGURED = "misconfigured"  # an answer that only an operator can change


@dataclass(frozen=True, slots=True)
class Reaction:
    """How often the chain is tried anew from step 1, how long after (seconds, doubled each time), what callers see."""

    attempts: int
    pause: float
    code: str
    retry_after: float


REACTIONS: dict[Failure, Reaction] = {
    Failure.CREDENTIAL_REJECTED: Reaction(attempts=3, pause=0.25, code="tenant_access_pending", retry_after=30),
    Failure.DENIED: Reaction(attempts=1, pause=0, code="tenant_access_denied", retry_after=60),
    Failure.NOT_FOUND: Reaction(attempts=1, pause=0, code="tenant_access_missing", retry_after=60),
    Failure.THROTTLED: Reaction(attempts=1, pause=0, code="tenant_access_throttled", retry_after=5),
    Failure.TRANSIENT: Reaction(attempts=3, pause=0.2, code="tenant_access_interrupted", retry_after=5),
    Failure.MISCONFIGURED: Reaction(attempts=1, pause=0, code="tenant_access_misconfigured", retry_after=300),
}


class AccessError(Exception):
    """One of the five steps failed. Adapters raise it; the broker decides."""

    def __init__(
        self, step: Step, failure: Failure, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"step {step}: {failure}")
        self.step = step
        self.failure = failure
        self.status = status
        self.retry_after = retry_after


def unavailable(error: AccessError) -> BulkheadError:
    """What the caller is told once the broker has given up: try again later. The step is named for operators."""
    reaction = REACTIONS[error.failure]
    return BulkheadError(
        Kind.UNAVAILABLE,
        reaction.code,
        f"The tenant's account could not be opened (step {error.step} of 5).",
        retry_after=error.retry_after or reaction.retry_after,
    )
