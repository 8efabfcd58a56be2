"""The broker: opens one tenant's account for one invocation, just in time, and forgets everything afterwards.

The way to a key is in retrieval.py; who shares it, in compartment.py. Here is the invocation's side: it enters, its
access is recorded, it works on documents signed by its lease, it leaves.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass

from shared.access.budget import LIMIT, Budget
from shared.access.compartment import Compartment, Granted
from shared.access.documents import Documents, KeyRefusedError
from shared.access.failures import REACTIONS, AccessError, Failure, unavailable
from shared.access.models import Account, Target
from shared.access.ports import AccountOpener, Anchors, Standing, Watcher
from shared.access.recorder import Recorder
from shared.access.retrieval import Steps
from shared.core.audit import disclosure
from shared.core.clock import Clock
from shared.core.errors import BulkheadError, bare
from shared.core.ids import LeaseId, TenantId, new_id
from shared.core.lease import (
    READING,
    WRITING,
    AccountKey,
    Lease,
    LeaseEndedError,
    LeaseExpiredError,
    LeaseLimits,
    Purpose,
)

_ATTEMPTS = 5  # listed, regenerated, listed again, once more for the other key; and some for what others interrupt
# Seconds between two looks at whether a tenant with invocations inside is still active, and for such a look. Whoever
# enters brings a registry entry that is up to 2 seconds old; so a lock is in force everywhere within 5.
_STANDING_EVERY = 1.25
_STANDING_WITHIN = 1.5
# Share of its patience for which an account may keep invocations waiting before more of them are let in to wait too: so
# a tenant whose account hangs does not fill the process.
_QUEUE = 0.25
# Seconds for a batch of records, which takes milliseconds. Never more than half of the patience: those who wait behind
# one that hangs must have time for the next.
_BATCH_WITHIN = 10.0
_RECORDERS = 2_000  # writers of access logs remembered; a forgotten one begins a new chain


class Broker:
    """Gives leases. Between two of them it holds no secret but what a budget forces it to keep."""

    def __init__(
        self,
        steps: Steps,
        accounts: AccountOpener,
        standing: Standing,
        anchors: Anchors,
        clock: Clock,
        watcher: Watcher,
        limits: LeaseLimits,
        *,
        share: bool,
        instances: int,
    ) -> None:
        """`share` lets concurrent invocations share a key; `instances` is the most processes that share a budget."""
        self._steps = steps
        self._accounts = accounts
        self._standing = standing
        self._anchors = anchors
        self._clock = clock
        self._watcher = watcher
        self._limits = limits
        self._share = share
        self._instances = instances
        self._open: dict[Compartment, asyncio.TimerHandle | None] = {}  # and when its tenant's standing is looked at
        self._shared: dict[Target, Compartment] = {}  # a changed target is another compartment
        self._budgets: dict[str, Budget] = {}
        self._recorders: OrderedDict[tuple[TenantId, Account], Recorder] = OrderedDict()
        self._failed: dict[Target, tuple[float, AccessError]] = {}
        self._waiting: dict[Target, dict[object, float]] = {}  # invocations without a key, and since when
        self._looks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(self, target: Target, purpose: Purpose, *, watched: bool = True) -> AsyncIterator[Documents]:
        """Open the account of `target` for `purpose`; leaving the block ends it.

        `watched` is False only for a tenant that is not in the registry yet, where nobody could lock it.
        Raises BulkheadError (unavailable) when a step fails for good or takes too long.
        """
        lease = self._new_lease(target, purpose)
        compartment = self._compartment(target, watched=watched)
        compartment.enter()
        holder = _Holder(self, compartment, lease)
        try:
            await holder.renew(refused=False)
            yield self._accounts.open(target.account, holder)
        finally:
            holder.end()
            compartment.leave()

    # --- the invocation's side ---------------------------------------------------------------------------------

    async def disclose(self, compartment: Compartment, lease: Lease, newer_than: int) -> tuple[AccountKey, int]:
        """Give `lease` a key of a later listing than `newer_than`, once its access is on record.

        The key and its listing's number. Raises BulkheadError.
        """
        target = compartment.target
        waiting, me, now = self._waiting.setdefault(target, {}), object(), self._clock.monotonic()
        if waiting and now - next(iter(waiting.values())) >= self._limits.patience * _QUEUE:
            raise unavailable(_unanswered(compartment))
        waiting[me] = now
        try:
            async with asyncio.timeout(self._limits.patience):
                return await self._disclose(compartment, lease, newer_than)
        except TimeoutError:
            self._remember(target, late := _unanswered(compartment))
            raise unavailable(late) from None
        except AccessError as error:
            self._remember(target, error)
            raise unavailable(error) from error
        finally:
            del waiting[me]
            if not waiting:
                self._waiting.pop(target, None)

    async def _disclose(self, compartment: Compartment, lease: Lease, newer_than: int) -> tuple[AccountKey, int]:
        for _ in range(_ATTEMPTS):
            granted = await self._keys(compartment, newer_than)
            writing = granted.keyring.choose(WRITING, compartment.refused)
            key = writing if lease.purpose.writes else granted.keyring.choose(READING, compartment.refused)
            if writing is None or key is None:
                compartment.refused.clear()  # the next invocation begins afresh
                raise AccessError(5, Failure.KEYS_REFUSED)
            try:
                await self._record(compartment, lease, key, writing, granted)
            except KeyRefusedError:  # regenerated since it was listed
                compartment.refused.add(writing.fingerprint)
                newer_than = granted.generation
            except LeaseEndedError:
                continue  # the key got too old or was replaced, or the invocation that wrote for all has ended
            else:
                lease.hold(key, granted.until)
                return key, granted.generation
        raise AccessError(5, Failure.TRANSIENT)

    async def _keys(self, compartment: Compartment, newer_than: int) -> Granted:
        if known := self._failed.get(compartment.target):
            until, failed = known
            left = until - self._clock.monotonic()
            if left <= 0:
                del self._failed[compartment.target]
            elif not compartment.has_key(newer_than):
                raise AccessError(failed.step, failed.failure, status=failed.status, retry_after=left)
        return await compartment.keys(newer_than)

    def _remember(self, target: Target, error: AccessError) -> None:
        """For a while, the next invocations for `target` are told the same at once: a breaker for it alone."""
        now = self._clock.monotonic()
        if target in self._failed and self._failed[target][0] > now:
            return  # this was told from memory
        seconds = REACTIONS[error.failure].remembered
        if error.failure is Failure.THROTTLED:
            seconds = max(seconds, error.retry_after or 0.0)
        if seconds > 0:
            self._failed = {one: known for one, known in self._failed.items() if known[0] > now}
            self._failed[target] = (now + seconds, AccessError(error.step, error.failure, status=error.status))
        self._watcher(
            "access_failed", tenant_id=target.tenant_id, step=error.step, failure=error.failure, status=error.status
        )

    async def _record(
        self, compartment: Compartment, lease: Lease, key: AccountKey, writing: AccountKey, granted: Granted
    ) -> None:
        """Write the access record. A key for reading is recorded with the one for writing, used for nothing else."""
        target, now = compartment.target, self._clock.now()
        disclosed = disclosure(
            new_id("acc", now), now, target.tenant_id, lease.id, lease.purpose, target.daemon.client_id,
            key.kind, key.fingerprint, granted.source,
        )  # fmt: skip
        own = Lease(lease.id, target.account.endpoint, lease.purpose, self._clock.monotonic)
        own.hold(writing, granted.until)
        try:
            documents = self._accounts.open(target.account, _ForTheRecord(own))
            await self._recorder(target).write(disclosed, documents)
        finally:
            own.end()

    def _recorder(self, target: Target) -> Recorder:
        one = target.tenant_id, target.account
        recorder = self._recorders.get(one)
        if recorder is None:
            within = min(_BATCH_WITHIN, self._limits.patience / 2)
            recorder = Recorder(target.tenant_id, self._clock, self._anchors, self._watcher, within)
            self._recorders[one] = recorder
            if len(self._recorders) > _RECORDERS:
                self._recorders.popitem(last=False)  # what it is writing, it writes to the end
        self._recorders.move_to_end(one)
        return recorder

    # --- entering and leaving ----------------------------------------------------------------------------------

    def _new_lease(self, target: Target, purpose: Purpose) -> Lease:
        lease_id = LeaseId(new_id("lea", self._clock.now()))
        return Lease(lease_id, target.account.endpoint, purpose, self._clock.monotonic)

    def _compartment(self, target: Target, *, watched: bool) -> Compartment:
        """The compartment of `target`: the shared one, or a new one."""
        shared = self._share and watched
        compartment = self._shared.get(target) if shared else None
        if compartment is None:
            compartment = Compartment(
                target, self._steps, self._budget(target.account.resource_id), self._limits, self._clock, self._watcher,
                self._forget, keeps=shared,
            )  # fmt: skip
            self._open[compartment] = self._look_later(compartment) if watched else None
            if shared:
                self._shared[target] = compartment
        return compartment

    def _forget(self, compartment: Compartment) -> None:
        if timer := self._open.pop(compartment, None):
            timer.cancel()
        if self._shared.get(compartment.target) is compartment:
            del self._shared[compartment.target]

    def _budget(self, account: str) -> Budget:
        now = self._clock.monotonic()
        budget = self._budgets.get(account)
        if budget is None:
            if len(self._budgets) % 1_000 == 999:  # now and then
                used = {compartment.target.account.resource_id for compartment in self._open}
                self._budgets = {
                    name: one for name, one in self._budgets.items() if name in used or not one.untouched(now)
                }
            budget = self._budgets[account] = Budget.full(LIMIT / self._instances, now)
        return budget

    # --- revocation --------------------------------------------------------------------------------------------

    def _look_later(self, compartment: Compartment) -> asyncio.TimerHandle:
        # In no invocation's context: that may be long over by then.
        return asyncio.get_running_loop().call_later(_STANDING_EVERY, self._look, compartment, context=Context())

    def _look(self, compartment: Compartment) -> None:
        task = asyncio.create_task(self._confirm(compartment))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def _confirm(self, compartment: Compartment) -> None:
        """See that the tenant is still active; else drop its leases. An answer that does not come means no."""
        try:
            async with asyncio.timeout(_STANDING_WITHIN):
                await self._standing.confirm(compartment.target.tenant_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, unknown means no
            reason = error if isinstance(error, BulkheadError) else unavailable(AccessError(5, Failure.TRANSIENT))
            self._forget(compartment)
            compartment.close(bare(reason))
            self._watcher("leases_dropped", tenant_id=compartment.target.tenant_id, code=reason.code)
        else:
            if compartment in self._open:
                self._open[compartment] = self._look_later(compartment)


def _unanswered(compartment: Compartment) -> AccessError:
    return AccessError(3 if compartment.retrieving else 5, Failure.UNANSWERED)


class _Holder:
    """One invocation inside a compartment: signs with its lease, and gets a new key when it must."""

    def __init__(self, broker: Broker, compartment: Compartment, lease: Lease) -> None:
        self._broker = broker
        self._compartment = compartment
        self._lease = lease
        self._key: AccountKey | None = None
        self._generation = 0

    def sign(self, endpoint: str, verb: str, resource_type: str, resource_link: str, date: str) -> str:
        """See Lease.sign."""
        return self._lease.sign(endpoint, verb, resource_type, resource_link, date)

    async def renew(self, *, refused: bool) -> None:
        """See Signer.renew. Raises LeaseEndedError after the end."""
        if self._lease.ended:
            raise LeaseEndedError("this lease has ended")
        if refused and self._key is not None:
            self._compartment.refused.add(self._key.fingerprint)
        newer_than = self._generation if refused else 0
        self._key, self._generation = await self._broker.disclose(self._compartment, self._lease, newer_than)

    def end(self) -> None:
        """End the lease."""
        self._lease.end()
        self._key = None


@dataclass(frozen=True, slots=True)
class _ForTheRecord:
    """Signs the access record alone, and cannot fetch another key."""

    lease: Lease

    def sign(self, endpoint: str, verb: str, resource_type: str, resource_link: str, date: str) -> str:
        return self.lease.sign(endpoint, verb, resource_type, resource_link, date)

    async def renew(self, *, refused: bool) -> None:
        raise KeyRefusedError if refused else LeaseExpiredError
