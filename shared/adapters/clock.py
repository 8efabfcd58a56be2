"""The real clock."""

import time
from datetime import UTC, datetime


class SystemClock:
    """shared.core.clock.Clock by the operating system."""

    def now(self) -> datetime:
        """The current time, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()
