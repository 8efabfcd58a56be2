"""Counting requests against Azure's budgets. Where a budget stands, and how a refusal looks, is each service's own."""

import math
from collections import deque
from typing import Literal

type Kind = Literal["read", "write", "delete"]


class Window:
    """At most so many requests in any `seconds`, counted by key. A refused request does not count."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._times: dict[str, deque[float]] = {}

    def spend(self, key: str, most: int, now: float) -> int:
        """Count one request; 0 when there was room, else the seconds, rounded up, until there will be."""
        times = self._times.setdefault(key, deque())
        while times and times[0] <= now - self.seconds:
            times.popleft()
        if len(times) >= most:
            return max(1, math.ceil(times[len(times) - most] + self.seconds - now))
        times.append(now)
        return 0


# Size and refill a second, for one principal in one subscription.
# Source: learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling.
_SIZES: dict[Kind, tuple[int, int]] = {"read": (250, 25), "write": (200, 10), "delete": (200, 10)}


class Buckets:
    """Resource Manager's token buckets. That POST counts as a write is inferred from the documentation's wording."""

    def __init__(self) -> None:
        # Tokens in each, and when that was so, in seconds since the epoch.
        self._buckets: dict[tuple[str, str, Kind], tuple[float, float]] = {}

    @staticmethod
    def kind(method: str) -> Kind:
        """Which bucket a request takes from."""
        return "read" if method in ("GET", "HEAD") else "delete" if method == "DELETE" else "write"

    def take(self, subscription_id: str, principal_id: str, kind: Kind, now: float) -> tuple[int, int]:
        """Take one token: (whole tokens left, 0), or (0, seconds until there is one) when there was none."""
        size, refill = _SIZES[kind]
        tokens, filled = self._buckets.get((subscription_id, principal_id, kind), (size, now))
        tokens = min(size, tokens + max(0.0, now - filled) * refill)
        left = tokens - 1 if tokens >= 1 else tokens
        self._buckets[subscription_id, principal_id, kind] = (left, now)
        return (int(left), 0) if tokens >= 1 else (0, max(1, math.ceil((1 - tokens) / refill)))
