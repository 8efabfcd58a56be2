"""One tenant's compartment in this process: the key that its invocations share while at least one of them is inside.

Concurrent invocations share one retrieval under way and the key. When the last one leaves, the key is forgotten, unless
the account's budget forces it to be kept for a while (budget.py). A compartment sees to its forgetting by itself.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

from shared.access.budget import Budget
from shared.access.failures import AccessError, Failure
from shared.access.models import Target
from shared.access.ports import Watcher
from shared.access.retrieval import KeptToken, Steps
from shared.core.audit import KeySource
from shared.core.clock import Clock
from shared.core.errors import BulkheadError, bare
from shared.core.lease import Keyring, LeaseEndedError, LeaseLimits


@dataclass(frozen=True, slots=True)
class Granted:
    """Keys to work with: which listing they are of, how they were come by, and until when (monotonic) they are good."""

    keyring: Keyring
    generation: int
    source: KeySource
    until: float


class Compartment:
    """The keys of one tenant's account, while somebody holds them. Not thread-safe: one event loop."""

    def __init__(
        self,
        target: Target,
        steps: Steps,
        budget: Budget,
        limits: LeaseLimits,
        clock: Clock,
        watcher: Watcher,
        emptied: Callable[["Compartment"], None],
        *,
        keeps: bool,
    ) -> None:
        """`emptied` is told when nobody is inside and nothing is kept.

        Unless it `keeps` what the budget forces it to, that is when the last holder leaves.
        """
        self.target = target
        self.refused: set[str] = set()  # fingerprints of keys that the account does not take
        self._holders = 0
        self._steps = steps
        self._budget = budget
        self._limits = limits
        self._clock = clock
        self._watcher = watcher
        self._emptied = emptied
        self._keeps = keeps
        self._keyring: Keyring | None = None
        self._generation = 0
        self._listed = 0.0
        self._retained = False  # whether the key outlived all its holders once
        self._flight: asyncio.Task[KeySource] | None = None
        self._token = KeptToken(limits.keep_token)
        self._closed: BulkheadError | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- holders -----------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """One more is inside."""
        self._holders += 1

    def leave(self) -> None:
        """One less is inside; the last one leaves nothing behind, but what the budget forces to be kept."""
        self._holders -= 1
        if self._holders > 0:
            return
        key_for, token_for = self._tidy()
        if key_for > 0:
            self._retained = True
            self._watcher("key_retained", tenant_id=self.target.tenant_id, seconds=round(key_for, 3))
        if token_for > 0:
            self._watcher("token_retained", tenant_id=self.target.tenant_id, seconds=round(token_for, 3))

    def close(self, reason: BulkheadError) -> None:
        """Forget everything, and refuse whoever is inside with `reason`."""
        self._closed, self._keeps = reason, False
        self._drop()
        self._tidy()

    # --- the key -----------------------------------------------------------------------------------------------

    @property
    def retrieving(self) -> bool:
        """Whether a retrieval is under way."""
        return self._flight is not None

    def has_key(self, newer_than: int) -> bool:
        """Whether `keys` would answer without a retrieval."""
        return self._keyring is not None and self._generation > newer_than and self._good_for() > 0

    async def keys(self, newer_than: int) -> Granted:
        """Keys of a later listing than `newer_than`, retrieved if need be, once for all who wait.

        Raises AccessError; the error with which the compartment was closed; LeaseEndedError when nobody is inside.
        """
        source: KeySource = "retained_key" if self._retained else "shared"
        while True:
            if self._closed is not None:
                raise self._closed
            if self._holders == 0:
                raise LeaseEndedError("everybody has left")  # a key that came now would not be forgotten by anybody
            if self._keyring is not None and self.has_key(newer_than):
                until = self._clock.monotonic() + self._good_for()
                return Granted(self._keyring, self._generation, source, until)
            starts = self._flight is None
            flight = self._flight or self._take_off()
            await asyncio.wait((flight,))  # whoever gives up waiting does not end it for the others
            if not flight.cancelled():
                retrieved = flight.result()
                source = retrieved if starts else "shared"

    def _take_off(self) -> "asyncio.Task[KeySource]":
        self._flight = asyncio.create_task(self._retrieve())
        self._flight.add_done_callback(self._land)
        return self._flight

    def _land(self, flight: "asyncio.Task[KeySource]") -> None:
        if self._flight is flight:
            self._flight = None
        if not flight.cancelled():
            flight.exception()  # seen, even if nobody waits for it any more

    async def _retrieve(self) -> KeySource:
        """Retrieve within the time that the first who waits has, so that nobody inherits a retrieval that hangs."""
        try:
            async with asyncio.timeout(self._limits.patience):
                keyring, source = await self._steps.retrieve(self.target, self._budget, self._token)
        except TimeoutError as error:
            raise AccessError(3, Failure.UNANSWERED) from bare(error)
        except AccessError as error:
            raise bare(error) from None
        if self._flight is not asyncio.current_task():  # given up, though whoever was asked answered all the same
            keyring.forget()
            self._token.drop()
            raise asyncio.CancelledError
        self._forget_key()
        self._keyring, self._retained = keyring, False
        self._generation += 1
        self._listed = self._clock.monotonic()
        self._tidy()
        return source

    def _good_for(self) -> float:
        """Seconds for which the present key may still be used: by its age, or as the budget forces beyond that."""
        now = self._clock.monotonic()
        age = now - self._listed
        if self._holders > 0 and age < self._limits.max_age:
            return self._limits.max_age - age
        return min(self._budget.keep_key(now, self._listed), self._limits.keep_key - age)

    # --- forgetting --------------------------------------------------------------------------------------------

    def _tidy(self) -> tuple[float, float]:
        """Forget what need not be kept, and come back when that may be more. For how long key and token are kept.

        While somebody is inside, what is too old need not be kept; else everything, but what the budget forces.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._holders == 0:
            self._abort()
            if not self._keeps:
                self._drop()
        key_for = self._good_for() if self._keyring is not None else 0.0
        if key_for <= 0:
            self._forget_key()
        token_for = self._token.remaining(self._clock.monotonic())
        if times := [seconds for seconds in (key_for, token_for) if seconds > 0]:
            # In no invocation's context: that may be long over by then.
            self._timer = asyncio.get_running_loop().call_later(min(times), self._tidy, context=Context())
        elif self._holders == 0:
            self._emptied(self)
        return key_for, token_for

    def _drop(self) -> None:
        self._abort()
        self._forget_key()
        self._token.drop()

    def _abort(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            self._flight = None

    def _forget_key(self) -> None:
        if self._keyring is not None:
            self._keyring.forget()
            self._keyring = None
