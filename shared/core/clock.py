"""Time as the application sees it. The real clock is in adapters; tests bring their own."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The current time, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for measuring ages."""
        ...


def rfc3339(moment: datetime) -> str:
    """`2026-11-24T08:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
