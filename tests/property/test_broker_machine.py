"""Whatever invocations, customers, administrators and Azure do, in whatever order: what always holds of the broker.

The real broker on a fake Azure and virtual time. Rules only set things in motion; `turns` and `time_passes` let them
run, so that anything may happen in the middle of anything. What must hold is looked at whenever nothing is left to do
but to wait: at every moment at which time passes.
"""

import asyncio
import gc
from bisect import bisect_right
from collections import Counter, defaultdict
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from shared.access.budget import LIMIT, WINDOW
from shared.access.failures import AccessError, Failure
from shared.core.audit import AccessRecord, Head
from shared.core.errors import BulkheadError, Kind
from shared.core.lease import LeaseEndedError, LeaseLimits, Purpose
from tests.broker_stage import KINDS, FakeAzure, Signature, broker_of, turns
from tests.examining import verify
from tests.fakes import CONTOSO_HR, CONTOSO_RETAIL, FABRIKAM_HR
from tests.virtual_time import VirtualTimeLoop

LIMITS = LeaseLimits(max_age=60, keep_key=120, keep_token=100, patience=20)
CACHED = 2.0  # seconds that the registry entry may be old with which somebody enters
LOCKED_WITHIN = 5.0  # seconds
CLOSE = 1e-3  # seconds that do not matter
STEPS = ("vault", "entra", "manager")
TENANTS = st.integers(0, 2)
ANY = st.integers(0, 7)
FAULTS = st.tuples(
    st.sampled_from([*STEPS, "account", "registry", "anchors", "lost"]),
    st.sampled_from([one for one in Failure if one not in (Failure.KEYS_REFUSED, Failure.OVER_BUDGET)]),
    st.integers(1, 3),
)


class WatchedAzure(FakeAzure):
    """Notes what no signature may be."""

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        self.wrong: list[str] = []
        self.listings: dict[str, list[float]] = defaultdict(list)
        self.asked: Counter[str] = Counter()  # for keys, without an answer yet

    async def list_keys(self, account: Any, token: Any) -> Any:
        self.listings[account.resource_id].append(self.loop.time())
        self.asked[account.resource_id] += 1
        try:
            return await super().list_keys(account, token)
        finally:
            self.asked[account.resource_id] -= 1

    def _signature(self, *arguments: Any) -> Signature:
        made = super()._signature(*arguments)
        if made.owner != made.endpoint:
            self.wrong.append("a lease signed with a key of another account")
        recorded = {
            (body["lease_id"], body["key_fingerprint"])
            for body in self.accounts[made.endpoint].documents.all("access_log")
            if body["kind"] == "record"
        }
        if not made.for_record and (made.lease_id, made.fingerprint) not in recorded:
            self.wrong.append("a key was used that is on no durable record of the lease")
        return made


class Invocation:
    """Enters, does what it is told to, and leaves."""

    def __init__(self, machine: Any, target: Any, purpose: Purpose) -> None:
        self.target = target
        self.entered = machine.loop.time()
        self.inside = False
        self.wrong: object = None
        self.cancelled = False
        self.wishes: asyncio.Queue[str] = asyncio.Queue()
        self.stray: list[asyncio.Task[None]] = []
        self.task = machine.loop.create_task(self._run(machine, purpose))

    async def _run(self, machine: Any, purpose: Purpose) -> None:
        try:
            async with machine.broker.lease(self.target, purpose) as documents:
                self.inside = True
                while (wish := await self.wishes.get()) != "leave":
                    if wish == "stray":  # work that may still run when the block has ended
                        self.stray.append(asyncio.create_task(self._stray(documents)))
                    elif wish == "work":
                        with suppress(BulkheadError):
                            await documents.read("candidates", "a", "a")
                    for other in machine.targets:
                        if other.account != self.target.account:
                            with suppress(LeaseEndedError):
                                self.wrong = documents._signer.sign(other.account.endpoint, "GET", "docs", "l", "d")
        except BulkheadError:
            pass
        except asyncio.CancelledError:
            self.wrong = None if self.cancelled else "cancelled by somebody else's end"
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
            self.wrong = error

    async def _stray(self, documents: Any) -> None:
        with suppress(BulkheadError, LeaseEndedError):
            await documents.read("candidates", "a", "a")


class BrokerMachine(RuleBasedStateMachine):
    @initialize(
        share=st.booleans(),
        instances=st.sampled_from([1, 40, 150]),
        spent=st.sampled_from([0.0, 0.6, 0.75, 1.0]),
        delay=st.sampled_from([0.0, 0.3]),
    )
    def begin(self, share: Any, instances: Any, spent: Any, delay: Any) -> None:
        self.loop = VirtualTimeLoop()
        self.azure = WatchedAzure(self.loop)
        self.broker = broker_of(self.azure, LIMITS, share=share, instances=instances)
        self.sound = True
        self.share, self.part = share, LIMIT / instances
        contoso = self.azure.add(CONTOSO_HR)
        retail = self.azure.add(CONTOSO_RETAIL)
        # Contoso once more, after it moved to another account: another compartment, and never a mixture of both.
        moved = msgspec.structs.replace(contoso, account=retail.account, daemon=retail.daemon)
        self.targets = [contoso, moved, self.azure.add(FABRIKAM_HR)]
        self.invocations: list[Invocation] = []
        self.locked: dict[str, float] = {}
        self.azure.delays |= dict.fromkeys((*STEPS, "account"), delay)
        for target in self.targets[:2]:  # others before have used some of their budget
            budget = self.broker._budget(target.account.resource_id)
            while budget.level(0) > budget.capacity * (1 - spent) and budget.spend(0) == 0:
                self.azure.listings[target.account.resource_id].append(0.0)
        self.loop.before_time_passes(self.look)

    # --- invocations ---

    @rule(tenant=TENANTS, writes=st.booleans())
    def enter(self, tenant: Any, writes: Any) -> None:
        target = self.targets[tenant]
        if self.loop.time() - self.locked.get(target.tenant_id, self.loop.time()) > CACHED:
            return  # the registry says no
        purpose = Purpose("user:1", "candidates.read", "cand_1", f"req_{len(self.invocations)}", writes=writes)
        self.invocations.append(Invocation(self, target, purpose))

    @rule(one=ANY, wishes=st.lists(st.sampled_from(["work", "stray", "leave"]), min_size=1, max_size=3))
    def wish(self, one: Any, wishes: Any) -> None:
        if running := self.running():
            for wish in wishes:
                running[one % len(running)].wishes.put_nowait(wish)

    @rule(one=ANY)
    def cancel(self, one: Any) -> None:
        if running := self.running():
            running[one % len(running)].cancelled = True
            running[one % len(running)].task.cancel()

    @rule(tenant=TENANTS, number=st.integers(1, 5))
    def come_and_go(self, tenant: Any, number: Any) -> None:
        """Some, one after the other."""
        for _ in range(number):
            self.enter(tenant, writes=False)
            self.wish(-1, ["work", "leave"])
            self.time_passes(2.0)

    # --- time ---

    @rule(number=st.integers(1, 25))
    def turns(self, number: Any) -> None:
        self.loop.run_until_complete(turns(number))

    @rule(seconds=st.sampled_from([0.001, 0.2, 0.6, 1.3, 2.5, 5.1, 19.0, 59.0, 61.0, 125.0]))
    def time_passes(self, seconds: Any) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    # --- what happens to tenants, and in Azure ---

    @rule(one=ANY, kinds=st.sampled_from([KINDS, KINDS[::2], KINDS[:1], KINDS[2:]]))
    def regenerate(self, one: Any, kinds: Any) -> None:
        """Some keys of an account that somebody is working on."""
        if running := self.running():
            for kind in kinds:
                self.azure.regenerate(running[one % len(running)].target, kind)
            self.wish(one, ["work"])

    @rule(tenant=TENANTS, locked=st.booleans())
    def lock_or_unlock(self, tenant: Any, locked: Any) -> None:
        tenant_id = self.targets[tenant].tenant_id
        if locked:
            self.azure.inactive.add(tenant_id)
            self.locked.setdefault(tenant_id, self.loop.time())
        else:
            self.azure.inactive.discard(tenant_id)
            self.locked.pop(tenant_id, None)

    @rule(tenant=TENANTS, act=st.sampled_from(["rotate", "rotate slowly", "deny", "grant"]))
    def administer(self, tenant: Any, act: Any) -> None:
        target = self.targets[tenant]
        if act == "rotate slowly":
            self.azure.rotate(target, at_entra=False)
            self.loop.call_later(1.0, self.azure.spread, target)
        else:
            getattr(self.azure, act)(target)

    @rule(fault=FAULTS)
    def fail(self, fault: Any) -> None:
        service, failure, times = fault
        if service == "lost":
            self.azure.lost += times
        elif service in STEPS:
            wait = 2.0 if failure is Failure.THROTTLED else None
            self.azure.faults[service] += [AccessError(1, failure, retry_after=wait)] * times
        else:
            self.azure.faults[service].append(BulkheadError(Kind.UNAVAILABLE, "unavailable", "No answer."))

    @rule(
        service=st.sampled_from([*STEPS, "account", "registry", "signing"]),
        delay=st.sampled_from([0.0, 0.1, 0.6, 4.0, 100.0]),
    )
    def be_slow(self, service: Any, delay: Any) -> None:
        self.azure.delays[service] = delay

    # --- what must hold ---

    def running(self) -> list[Invocation]:
        return [one for one in self.invocations if not one.task.done()]

    def look(self) -> None:
        now, self.sound = self.loop.time(), False
        assert self.azure.wrong == []
        for account, listed in self.azure.listings.items():
            recent = len(listed) - bisect_right(listed, now - WINDOW + CLOSE)
            assert recent <= max(1.0, self.part), f"{recent} listings of {account} in 5 minutes"
        for one in self.running():
            assert one.inside or now <= one.entered + LIMITS.patience + CLOSE, "an invocation hangs"
        assert [one.wrong for one in self.invocations if one.wrong is not None] == []
        if problem := self.outlived(now):
            gc.collect()  # what nobody can reach is not alive
            problem = self.outlived(now)
        assert not problem, problem
        self.sound = True

    def outlived(self, now: float) -> str:
        """What is wrong with the secrets that are alive."""
        listings: Counter[str] = Counter()
        for what, reference, made, whose in self.azure.secrets:
            secret = reference()
            if secret is None or secret.forgotten:
                continue
            target = next(
                one for one in self.targets
                if whose in (one.account.endpoint, one.daemon.client_id, one.daemon.credential.name)
            )  # fmt: skip
            holders = sum(one.target.account == target.account for one in self.running())
            if not self.may_live(what, now - made, now, target, holders):
                return f"a {what} outlived its rules: {now - made} s old, {holders} inside"
            listings[whose] += what == "key"
            if listings[whose] > len(KINDS) * (1 if self.share else holders):
                return "more than one listing of an account is alive"
            locked = [self.locked.get(one.tenant_id, now) for one in self.targets if one.account == target.account]
            if now > max(locked) + LOCKED_WITHIN + CLOSE:
                return f"a {what} of a tenant that is locked"
        return ""

    def may_live(self, what: str, age: float, now: float, target: Any, holders: int) -> bool:
        level, rate, capacity = self.bucket(target.account.resource_id, now)
        keeps = self.share or holders
        if what == "key":
            # Until another listing has come back: then the level is up to one higher than when it was decided.
            short = level < max(1.0, capacity / 4) + 1 and age <= 1 / rate + CLOSE
            in_use = holders and age <= LIMITS.max_age + CLOSE
            return bool(in_use or (keeps and short and age <= LIMITS.keep_key + CLOSE))
        if what == "token":
            in_use = holders and self.azure.asked[target.account.resource_id] > 0
            needed = keeps and level <= capacity / 2 + CLOSE and age <= LIMITS.keep_token + CLOSE
            return bool(needed or (in_use and age <= LIMITS.keep_token + LIMITS.patience + CLOSE))
        return bool(holders and age <= LIMITS.patience + CLOSE)

    def bucket(self, account: str, now: float) -> tuple[float, float, float]:
        """Level, rate and capacity of an account's budget, reckoned once more from what was listed."""
        capacity, rate = max(1.0, self.part * 0.6), self.part * 0.4 / WINDOW
        level, at = capacity, 0.0
        for moment in self.azure.listings[account]:
            level, at = min(capacity, level + (moment - at) * rate) - 1, moment
        return min(capacity, level + (now - at) * rate), rate, capacity

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            if self.sound:  # else the fault was found already
                self.end()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.before_time_passes(lambda: None)
            self.loop.run_until_complete(turns(50))
            self.loop.close()

    def end(self) -> None:
        """Everybody leaves, and what budgets force has passed: then nothing is left, and every log is whole."""
        self.azure.faults.clear()
        self.azure.delays.clear()
        self.azure.lost = 0
        for one in self.running():
            one.wishes.put_nowait("leave")
        self.time_passes(LIMITS.patience + 100.0)  # and a call that was slow has ended
        assert not self.running()
        assert all(task.done() for one in self.invocations for task in one.stray)
        self.time_passes(LIMITS.keep_token)
        if self.azure.alive():
            gc.collect()  # what nobody can reach is not alive
        assert self.azure.alive() == []
        assert (self.broker._open, self.broker._shared, self.broker._looks) == ({}, {}, set())
        anchors: dict[str, list[Head]] = {}
        for target in self.targets:
            anchors.setdefault(target.account.endpoint, []).extend(self.azure.anchors[target.tenant_id].values())
        for endpoint, account in self.azure.accounts.items():
            stored = account.documents.all("access_log")
            records = [msgspec.convert(one, AccessRecord) for one in stored if one["kind"] == "record"]
            heads = [msgspec.convert(one, Head) for one in stored if one["kind"] == "head"]
            own = {head.writer for head in heads}
            known = [head for head in anchors.get(endpoint, []) if head.writer in own]
            assert verify(records, heads, known) == []


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
