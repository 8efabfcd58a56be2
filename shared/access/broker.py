"""The broker: opens one tenant's account for one invocation, just in time, and forgets everything afterwards.

The way to a key is in retrieval.py; who shares it, in compartment.py. Here is the invocation's side: it enters, its
access is recorded, it works on documents signed by its lease, it leaves.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared.access.budget import LIMIT, Budget
from shared.access.compartment import Compartment, Granted
from shared.access.documents import Documents, KeyRefusedError
from shared.access.failures import REACTIONS, AccessError, Failure, unavailable
from shared.access.models import Target
from shared.access.ports import AccountOpener, Anchors, Standing, Watcher
from shared.access.recorder import Recorder
from shared.access.retrieval import Steps
from shared.core.audit import disclosure
from shared.core.clock import Clock
from shared.core.errors import BulkheadError
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

_LISTINGS = 3  # listed, regenerated, listed again, and once more for the other key
# Seconds between two looks at whether a tenant with invocations inside is still active, and for such a look. Whoever
# enters brings a registry entry that is up to 2 seconds old; so a lock is in force everywhere within 5.
_STANDING_EVERY = 1.25
_STANDING_WITHIN = 1.5
_LONGEST_REMEMBERED = 600.0  # seconds, however long a Retry-After is
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
        self._compartments: dict[TenantId, Compartment] = {}
        self._budgets: dict[str, Budget] = {}
        self._recorders: OrderedDict[TenantId, Recorder] = OrderedDict()
        self._failed: dict[TenantId, tuple[float, AccessError]] = {}
        self._timers: dict[Compartment, asyncio.TimerHandle] = {}
        self._looks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(self, target: Target, purpose: Purpose, *, watched: bool = True) -> AsyncIterator[Documents]:
        """Open the account of `target` for `purpose`; leaving the block ends it.

        `watched` is False only for a tenant that is not in the registry yet, where nobody could lock it.
        Raises BulkheadError (unavailable) when a step fails for good or takes too long.
        """
        compartment = self._enter(target, watched=watched)
        holder = _Holder(self, compartment, purpose)
        try:
            await holder.renew(refused=False)
            yield self._accounts.open(target.account, holder)
        finally:
            holder.end()
            self._leave(compartment)

    # --- the invocation's side ---------------------------------------------------------------------------------

    async def disclose(self, compartment: Compartment, lease: Lease, newer_than: int) -> tuple[AccountKey, int]:
        """Give `lease` a key of a later listing than `newer_than`, once its access is on record.

        The key and its listing's number. Raises BulkheadError.
        """
        try:
            async with asyncio.timeout(self._limits.patience):
                return await self._disclose(compartment, lease, newer_than)
        except TimeoutError:
            raise unavailable(AccessError(5, Failure.TRANSIENT)) from None
        except AccessError as error:
            self._remember(compartment.target, error)
            raise unavailable(error) from error

    async def _disclose(self, compartment: Compartment, lease: Lease, newer_than: int) -> tuple[AccountKey, int]:
        refusals = 0
        while refusals < _LISTINGS:
            granted = await self._keys(compartment, newer_than)
            writing = granted.keyring.choose(WRITING, compartment.refused)
            key = writing if lease.purpose.writes else granted.keyring.choose(READING, compartment.refused)
            if writing is None or key is None:
                break
            try:
                await self._record(compartment, lease, key, writing, granted)
            except KeyRefusedError:  # regenerated since it was listed
                compartment.refused.add(writing.fingerprint)
                newer_than = granted.generation
                refusals += 1
            except LeaseEndedError:
                continue  # the key got too old or was replaced, or the invocation that wrote for all has ended
            else:
                lease.hold(key, granted.until)
                return key, granted.generation
        compartment.refused.clear()  # the next invocation begins afresh
        raise AccessError(5, Failure.KEYS_REFUSED)

    async def _keys(self, compartment: Compartment, newer_than: int) -> Granted:
        if known := self._failed.get(compartment.target.tenant_id):
            until, failed = known
            left = until - self._clock.monotonic()
            if left <= 0:
                del self._failed[compartment.target.tenant_id]
            elif not compartment.has_key(newer_than):
                raise AccessError(failed.step, failed.failure, status=failed.status, retry_after=left)
        return await compartment.keys(newer_than)

    def _remember(self, target: Target, error: AccessError) -> None:
        """For a while, the tenant's next invocations are told the same at once: a breaker for this tenant alone."""
        now = self._clock.monotonic()
        seconds = REACTIONS[error.failure].remembered
        if error.failure is Failure.THROTTLED:
            seconds = min(max(seconds, error.retry_after or 0.0), _LONGEST_REMEMBERED)
        if seconds > 0 and target.tenant_id not in self._failed:
            self._failed = {one: known for one, known in self._failed.items() if known[0] > now}
            # A copy: through traceback and cause the error itself holds what was sent, the credential among it.
            kept = AccessError(error.step, error.failure, status=error.status)
            self._failed[target.tenant_id] = (now + seconds, kept)
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
        own = Lease(lease.id, target.tenant_id, target.account.endpoint, lease.purpose, self._clock.monotonic)
        own.hold(writing, granted.until)
        try:
            documents = self._accounts.open(target.account, _ForTheRecord(own))
            await self._recorder(target.tenant_id).write(disclosed, documents)
        finally:
            own.end()

    def _recorder(self, tenant_id: TenantId) -> Recorder:
        recorder = self._recorders.get(tenant_id)
        if recorder is None:
            recorder = self._recorders[tenant_id] = Recorder(tenant_id, self._clock, self._anchors, self._watcher)
            if len(self._recorders) > _RECORDERS:
                self._recorders.popitem(last=False)  # what it is writing, it writes to the end
        self._recorders.move_to_end(tenant_id)
        return recorder

    # --- entering and leaving ----------------------------------------------------------------------------------

    def new_lease(self, target: Target, purpose: Purpose) -> Lease:
        """A lease without a key yet."""
        lease_id = LeaseId(new_id("lea", self._clock.now()))
        return Lease(lease_id, target.tenant_id, target.account.endpoint, purpose, self._clock.monotonic)

    def _enter(self, target: Target, *, watched: bool) -> Compartment:
        compartment = self._compartments.get(target.tenant_id) if self._share else None
        if compartment is None or compartment.target != target:  # a changed target is another compartment
            if compartment is not None and compartment.holders == 0:
                self._stop_timer(compartment)
                compartment.drop()
            budget = self._budget(target.account.resource_id)
            compartment = Compartment(target, self._steps, budget, self._limits, self._clock, self._watcher)
            if self._share:
                self._compartments[target.tenant_id] = compartment
        if compartment.holders == 0 and watched:
            self._set_timer(compartment, _STANDING_EVERY, self._look)
        compartment.holders += 1
        return compartment

    def _leave(self, compartment: Compartment) -> None:
        compartment.holders -= 1
        if compartment.holders == 0:
            self._rest(compartment)

    def _rest(self, compartment: Compartment) -> None:
        """Let an empty compartment forget, and forget it; look again when it must keep something for a while."""
        self._stop_timer(compartment)
        if self._compartments.get(compartment.target.tenant_id) is not compartment:
            compartment.drop()
        elif (seconds := compartment.tidy()) > 0:
            self._set_timer(compartment, seconds, self._rest)
        else:
            del self._compartments[compartment.target.tenant_id]

    def _budget(self, account: str) -> Budget:
        now = self._clock.monotonic()
        budget = self._budgets.get(account)
        if budget is None:
            if len(self._budgets) % 1_000 == 999:  # now and then
                self._budgets = {name: one for name, one in self._budgets.items() if not one.untouched(now)}
            budget = self._budgets[account] = Budget.full(LIMIT / self._instances, now)
        return budget

    # --- revocation --------------------------------------------------------------------------------------------

    def _look(self, compartment: Compartment) -> None:
        compartment.tidy()
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
            self._watcher("leases_dropped", tenant_id=compartment.target.tenant_id, code=reason.code)
            if self._compartments.get(compartment.target.tenant_id) is compartment:
                del self._compartments[compartment.target.tenant_id]
            compartment.close(reason)
        else:
            if compartment.holders > 0:
                self._set_timer(compartment, _STANDING_EVERY, self._look)

    def _set_timer(self, compartment: Compartment, seconds: float, call: Callable[[Compartment], None]) -> None:
        self._stop_timer(compartment)
        self._timers[compartment] = asyncio.get_running_loop().call_later(seconds, call, compartment)

    def _stop_timer(self, compartment: Compartment) -> None:
        if timer := self._timers.pop(compartment, None):
            timer.cancel()


class _Holder:
    """One invocation inside a compartment: signs with its lease, and gets a new key when it must."""

    def __init__(self, broker: Broker, compartment: Compartment, purpose: Purpose) -> None:
        self._broker = broker
        self._compartment = compartment
        self._lease = broker.new_lease(compartment.target, purpose)
        self._key: AccountKey | None = None
        self._generation = 0

    def sign(self, endpoint: str, verb: str, resource_type: str, resource_link: str, date: str) -> str:
        """See Lease.sign."""
        return self._lease.sign(endpoint, verb, resource_type, resource_link, date)

    async def renew(self, *, refused: bool) -> None:
        """See Signer.renew. Raises LeaseEndedError when everybody has left the compartment."""
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
