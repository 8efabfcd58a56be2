"""How the five steps fail, and what the broker does about each way. The one table of this decision.

docs/operations.md has the same table in words; a test holds the two together.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from shared.core.errors import BulkheadError, Kind

LONGEST_WAIT = 600.0  # seconds: nobody is made to wait longer, whatever a Retry-After says

type Step = Literal[1, 2, 3, 5]  # 3 and 4 are one exchange with Resource Manager: the request and its answer


class Failure(StrEnum):
    """The class of a failure, told by status and error code, never by a message's text."""

    CREDENTIAL_REJECTED = "credential_rejected"  # rotated since it was read, or not yet known everywhere
    DENIED = "denied"  # the right was taken away, or has not spread yet
    NOT_FOUND = "not_found"  # credential, daemon application or account does not exist
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    UNANSWERED = "unanswered"  # no answer in the time that an invocation has
    MISCONFIGURED = "misconfigured"  # an answer that only an operator can change
    KEYS_REFUSED = "keys_refused"  # Cosmos DB takes none of the keys that Resource Manager lists
    OVER_BUDGET = "over_budget"  # our own share of the account's budget is used up


@dataclass(frozen=True, slots=True)
class Reaction:
    """What is done about a class of failure. Times are in seconds.

    attempts: how often steps 1 to 4 are gone through in all, each time with everything fetched anew
    pause: before the second attempt; doubled for each further one; as long as Retry-After asks, within bounds
    remembered: for how long the tenant's next invocations get the same answer at once, without asking Azure
    code, retry_after: what callers are told
    """

    attempts: int
    pause: float
    remembered: float
    code: str
    retry_after: float


REACTIONS: dict[Failure, Reaction] = {
    Failure.CREDENTIAL_REJECTED: Reaction(4, 0.25, 2, "tenant_access_pending", 30),
    Failure.DENIED: Reaction(1, 0, 5, "tenant_access_denied", 60),
    Failure.NOT_FOUND: Reaction(1, 0, 5, "tenant_access_missing", 60),
    Failure.THROTTLED: Reaction(2, 1, 5, "tenant_access_throttled", 5),
    Failure.TRANSIENT: Reaction(3, 0.2, 0, "tenant_access_interrupted", 5),
    Failure.UNANSWERED: Reaction(1, 0, 5, "tenant_access_unanswered", 10),
    Failure.MISCONFIGURED: Reaction(1, 0, 5, "tenant_access_misconfigured", 300),
    Failure.KEYS_REFUSED: Reaction(1, 0, 2, "tenant_access_keys_refused", 10),
    Failure.OVER_BUDGET: Reaction(3, 0, 0, "tenant_access_over_budget", 5),
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
        self.retry_after = None if retry_after is None else min(retry_after, LONGEST_WAIT)


def unavailable(error: AccessError) -> BulkheadError:
    """What the caller is told once the broker has given up: try again later. The step is named for operators."""
    reaction = REACTIONS[error.failure]
    return BulkheadError(
        Kind.UNAVAILABLE,
        reaction.code,
        f"The tenant's account could not be opened (step {error.step} of 5).",
        retry_after=error.retry_after or reaction.retry_after,
    )
