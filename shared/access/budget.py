"""How often an account's keys may be listed, and what must be kept for how long so that it is enough.

Azure answers 500 List Keys per 5 minutes and account, over all who ask. This process may use the configured share of
that. Strict retrieval, one for each invocation, is the rule while the share lasts; as it runs out, first the daemon's
token and then the key outlive their last holder, and no longer than it takes until the next retrieval can be afforded.
"""

from dataclasses import dataclass

WINDOW = 300.0  # seconds ("Azure Cosmos DB service quotas", control plane operations)
LIMIT = 450.0  # of the 500 in a window; the rest is for the owner, the portal, and clocks that differ

# The share is split into what may be spent at once and what comes back during a window, so that no window, wherever it
# starts, sees more than the share.
_AT_ONCE = 0.6
_KEEP_TOKEN_BELOW = 0.5
_KEEP_KEY_BELOW = 0.25


@dataclass(slots=True)
class Budget:
    """One process's share of one account's budget: a bucket that fills steadily. Times are monotonic seconds."""

    share: float
    _level: float
    _at: float

    @classmethod
    def full(cls, share: float, now: float) -> "Budget":
        """A budget of which nothing was used yet. `share` is listings per window, more than 0."""
        return cls(share, max(1.0, share * _AT_ONCE), now)

    @property
    def capacity(self) -> float:
        """The most that can be spent at once; never less than one listing."""
        return max(1.0, self.share * _AT_ONCE)

    @property
    def rate(self) -> float:
        """Listings that come back each second."""
        return self.share * (1 - _AT_ONCE) / WINDOW

    def level(self, now: float) -> float:
        """Listings that can be afforded now."""
        self._level = min(self.capacity, self._level + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        return self._level

    def wait(self, now: float) -> float:
        """Seconds after which a listing can be afforded; 0: now."""
        return max(0.0, (1 - self.level(now)) / self.rate)

    def spend(self, now: float) -> float:
        """Take one listing: 0. Or take nothing, and give the seconds after which one can be afforded."""
        wait = self.wait(now)
        if wait == 0:
            self._level -= 1
        return wait

    def keep_token(self, now: float) -> float:
        """Seconds for which the daemon's token is to be kept: until the budget has recovered."""
        threshold = self.capacity * _KEEP_TOKEN_BELOW
        return max(0.0, (threshold - self.level(now)) / self.rate)

    def keep_key(self, now: float, listed: float) -> float:
        """Seconds for which a key listed at `listed` is to be kept: until another listing has come back since."""
        if self.level(now) >= max(1.0, self.capacity * _KEEP_KEY_BELOW):
            return 0.0
        return max(0.0, listed + 1 / self.rate - now)

    def untouched(self, now: float) -> bool:
        """Whether the budget is full again, so that nothing needs to be remembered of it."""
        return self.level(now) >= self.capacity
