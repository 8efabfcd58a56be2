"""What the domain needs from outside besides its store."""

from typing import Protocol

from shared.screening.models import ScreeningJob

# The queues' names, for those who write to them and for the triggers.
SCREENINGS = "screenings"
CHECK_REQUESTS = "check-requests"
REJECTED = "check-requests-rejected"

QUEUE_UNAVAILABLE = "queue_unavailable"  # the error's code when a queue takes no message


class ScreeningQueue(Protocol):
    """The queue on which screenings wait to be run."""

    async def enqueue(self, jobs: list[ScreeningJob], delay: float) -> None:
        """Put jobs on the queue, to appear after `delay` seconds. Raises BulkheadError (unavailable)."""
        ...


class RequestQueue(Protocol):
    """The queue on which tenants' own systems put their signed orders."""

    async def reject(self, message: bytes, reason: str) -> None:
        """Move a message, as it came, to the queue of rejected ones, with a fixed word as the reason.

        Raises BulkheadError (unavailable).
        """
        ...

    async def retry(self, message: bytes, attempt: int, delay: float) -> None:
        """Put a message on the queue again, as it came, to appear after `delay` seconds.

        Raises BulkheadError (unavailable).
        """
        ...
