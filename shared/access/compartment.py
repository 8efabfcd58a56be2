"""One tenant's compartment in this process: the key that its invocations share while at least one of them is inside.

Concurrent invocations share one retrieval under way and the key. When the last one leaves, the key is forgotten, unless
the account's budget forces it to be kept for a while (budget.py).
"""

import asyncio
from dataclasses import dataclass

from shared.access.budget import Budget
from shared.access.models import Target
from shared.access.ports import Watcher
from shared.access.retrieval import KeptToken, Steps
from shared.core.audit import KeySource
from shared.core.clock import Clock
from shared.core.errors import BulkheadError
from shared.core.lease import Keyring, LeaseLimits


@dataclass(frozen=True, slots=True)
class Granted:
    """Keys to work with: which listing they are of, how they were come by, and for how many seconds they are good."""

    keyring: Keyring
    generation: int
    source: KeySource
    good_for: float


class Compartment:
    """The keys of one tenant's account, while somebody holds them. Not thread-safe: one event loop."""

    def __init__(
        self, target: Target, steps: Steps, budget: Budget, limits: LeaseLimits, clock: Clock, watcher: Watcher
    ) -> None:
        self.target = target
        self.holders = 0
        self.refused: set[str] = set()  # fingerprints of keys that the account does not take
        self._steps = steps
        self._budget = budget
        self._limits = limits
        self._clock = clock
        self._watcher = watcher
        self._keyring: Keyring | None = None
        self._generation = 0
        self._listed = 0.0
        self._retained = False  # whether the key outlived all its holders once
        self._flight: asyncio.Task[KeySource] | None = None
        self._token = KeptToken(limits.keep_token)
        self._closed: BulkheadError | None = None

    async def keys(self, newer_than: int = 0) -> Granted:
        """Keys of a later listing than `newer_than`, retrieved if need be, once for all who wait.

        Raises AccessError, and the error with which the compartment was closed.
        """
        source: KeySource = "retained_key" if self._retained else "shared"
        while True:
            if self._closed is not None:
                raise self._closed
            if self._keyring is not None and self.has_key(newer_than):
                return Granted(self._keyring, self._generation, source, self._good_for())
            if self._flight is None:
                self._flight = asyncio.create_task(self._retrieve())
                source = await self._join(self._flight)
            else:
                await self._join(self._flight)
                source = "shared"

    async def _join(self, flight: "asyncio.Task[KeySource]") -> KeySource:
        """Wait for a retrieval; whoever gives up waiting does not end it for the others."""
        try:
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            if self._closed is not None and flight.cancelled():
                raise self._closed from None
            raise

    async def _retrieve(self) -> KeySource:
        try:
            keyring, source = await self._steps.retrieve(self.target, self._budget, self._token)
            if self._keyring is not None:
                self._keyring.forget()
            self._keyring, self._retained = keyring, False
            self._generation += 1
            self._listed = self._clock.monotonic()
            return source
        finally:
            self._flight = None

    def _good_for(self) -> float:
        """Seconds for which the present key may still be used: its age's, or what the budget forces beyond that."""
        now = self._clock.monotonic()
        age = now - self._listed
        if age < self._limits.max_age:
            return self._limits.max_age - age
        return min(self._budget.keep_key(now, self._listed), self._limits.keep_key - age)

    def has_key(self, newer_than: int) -> bool:
        """Whether `keys` would answer without a retrieval."""
        return self._keyring is not None and self._generation > newer_than and self._good_for() > 0

    def rest(self) -> float:
        """Nobody is inside: forget what need not be kept. The seconds after which to ask again; 0: nothing is kept."""
        if self._flight is not None:
            self._flight.cancel()
        now = self._clock.monotonic()
        key_for = 0.0
        if self._keyring is not None and not self._closed:
            key_for = min(self._budget.keep_key(now, self._listed), self._limits.keep_key - (now - self._listed))
        if self._keyring is not None:
            if key_for > 0:
                if not self._retained:
                    self._watcher("key_retained", tenant_id=self.target.tenant_id, seconds=round(key_for, 3))
                self._retained = True
            else:
                self._keyring.forget()
                self._keyring = None
        token_for = self._token.remaining(now)
        if token_for <= 0:
            self._token.drop()
        return min((seconds for seconds in (key_for, token_for) if seconds > 0), default=0.0)

    def close(self, reason: BulkheadError) -> None:
        """Forget everything, and refuse whoever is inside with `reason`."""
        self._closed = reason
        self.drop()

    def drop(self) -> None:
        """Forget everything."""
        if self._flight is not None:
            self._flight.cancel()
        if self._keyring is not None:
            self._keyring.forget()
            self._keyring = None
        self._token.drop()
