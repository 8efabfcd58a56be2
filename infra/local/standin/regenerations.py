"""Running regenerations of account keys: long-running operations during which the key changes at some moment.

Azure documents no moment for the change ("one minute to multiple hours" in all), so a caller may rely on none:
here it is a random one inside the operation.
"""

import asyncio
import random
import uuid
from dataclasses import dataclass

from infra.local.standin.cosmos.accounts import Accounts, KeyKind
from infra.local.standin.storage import Table
from infra.local.standin.wire import World


@dataclass(slots=True)
class Regeneration:
    """One operation. Times are seconds since the epoch."""

    id: str
    account: str
    key_kind: KeyKind
    subscription_id: str
    started_by: str  # object id
    changes_at: float
    ends_at: float
    changed: bool = False


class Regenerations:
    """Starts operations and carries them out in the background; an interrupted one goes on at the next start."""

    def __init__(self, world: World, accounts: Accounts) -> None:
        self._world = world
        self._accounts = accounts
        self._operations = Table(world.storage, "resource_manager/operations", Regeneration)
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def resume(self) -> None:
        """Go on with what the last run left unfinished. Must be called inside the event loop."""
        for operation in self._operations:
            if not operation.changed:
                self._schedule(operation)

    def stop(self) -> None:
        """Leave the unfinished to the next start."""
        for timer in self._timers.values():
            timer.cancel()

    def begin(self, account: str, key_kind: KeyKind, subscription_id: str, started_by: str) -> Regeneration:
        """Start to regenerate one key of an account."""
        now, lasts = self._world.now(), self._world.settings.regenerate_seconds
        changes_at = now + lasts * random.random()  # noqa: S311 - a moment, nothing secret
        operation = Regeneration(
            str(uuid.uuid4()), account, key_kind, subscription_id, started_by, changes_at, now + lasts
        )
        self._operations.put(operation.id, operation)
        self._schedule(operation)
        return operation

    def get(self, operation_id: str) -> Regeneration | None:
        """The operation of that id."""
        return self._operations.get(operation_id)

    def ended(self, operation: Regeneration) -> bool:
        """Whether it has succeeded. Nobody is let in to ask any more when its account is gone."""
        return operation.changed and self._world.now() >= operation.ends_at

    def running(self, account: str) -> bool:
        """Whether an operation on this account has not ended."""
        return any(one.account == account and not self.ended(one) for one in self._operations)

    def _schedule(self, operation: Regeneration) -> None:
        delay = max(0.0, operation.changes_at - self._world.now())
        self._timers[operation.id] = asyncio.get_running_loop().call_later(delay, self._change, operation)

    def _change(self, operation: Regeneration) -> None:
        del self._timers[operation.id]
        with self._world.storage.transaction():
            if self._accounts.get(operation.account) is not None:
                self._accounts.regenerate(operation.account, operation.key_kind)
            operation.changed = True
            self._operations.put(operation.id, operation)
