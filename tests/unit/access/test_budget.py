"""No window of 300 seconds ever sees more listings than the share; and what is kept, is kept as long as that needs."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.access.broker import Broker
from shared.access.budget import LIMIT, WINDOW, Budget
from shared.access.models import Target
from shared.access.retrieval import DaemonToken, KeptToken
from shared.core.errors import BulkheadError
from shared.core.secret import Secret
from tests.broker_stage import LIMITS, READS, FakeAzure, broker_of
from tests.fakes import Names

SHARES = st.integers(1, 1000).map(lambda instances: LIMIT / instances)
PAUSES = st.floats(0, 400) | st.sampled_from([0.0, 0.01, 1.0, WINDOW])


def worst(spent: list[float]) -> int:
    """The most in any window, wherever it starts. Rounding may move a listing by a millionth of a second."""
    return max((sum(start <= one <= start + WINDOW - 1e-6 for one in spent) for start in spent), default=0)


@given(SHARES, st.floats(0, 1e6), st.lists(st.tuples(PAUSES, st.integers(1, 400)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_no_window_sees_more_than_the_share(share: float, now: float, demand: Any) -> None:
    budget = Budget.full(share, now)
    spent = []
    for pause, wanted in demand:
        now += pause
        for _ in range(wanted):
            if budget.spend(now) > 0:
                break
            spent.append(now)
    assert worst(spent) <= max(1, share)


@given(SHARES, st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_whoever_waits_as_long_as_told_can_spend(share: float, wanted: int) -> None:
    budget, now, spent = Budget.full(share, 0.0), 0.0, []
    while len(spent) < wanted:
        wait = budget.spend(now)
        if wait == 0:
            spent.append(now)
        now += wait + 1e-6
    assert worst(spent) <= max(1, share)
    for one, next_one in pairwise(spent[int(budget.capacity) :]):
        assert next_one - one == pytest.approx(1 / budget.rate, rel=1e-3)


def test_a_clock_that_stands_still_or_steps_back_gives_nothing() -> None:
    budget = Budget.full(10, 1_000.0)
    while budget.spend(1_000.0) == 0:
        pass
    assert budget.level(900.0) == budget.level(1_000.0) == 0
    assert budget.level(1_000.0 + WINDOW) == pytest.approx(4)


def test_a_full_budget_keeps_nothing() -> None:
    budget = Budget.full(450, 0.0)
    assert (budget.keep_token(0.0), budget.keep_key(0.0, 0.0), budget.wait(0.0)) == (0, 0, 0)
    assert budget.untouched(0.0)
    assert budget.capacity == 270
    budget.spend(0.0)
    assert not budget.untouched(0.0)
    assert budget.untouched(2.0)


@pytest.mark.parametrize("instances", [1, 4, 40, 100, 200])
def test_as_the_share_runs_out_the_token_is_kept_first_then_the_key(instances: int) -> None:
    budget = Budget.full(LIMIT / instances, 0.0)
    kept = []
    while budget.spend(0.0) == 0:
        kept.append((budget.keep_token(0.0) > 0, budget.keep_key(0.0, 0.0) > 0))
    order = sorted(set(kept))
    assert kept == sorted(kept)
    assert order in ([(False, False), (True, False), (True, True)], [(False, False), (True, True)], [(True, True)])
    assert kept[-1][1], "the key is kept before the last listing that can be afforded is gone"


@pytest.mark.parametrize("instances", [1, 4, 40, 100])
def test_the_key_is_kept_until_another_listing_can_be_afforded(instances: int) -> None:
    budget = Budget.full(LIMIT / instances, 0.0)
    while budget.spend(0.0) == 0:
        pass
    until = budget.keep_key(0.0, 0.0)
    assert until == pytest.approx(1 / budget.rate)
    assert budget.keep_key(until + 1e-6, 0.0) == 0
    assert budget.spend(until + 1e-6) == 0


def kept_token(limit: float, budget: Budget, issued: float, now: float) -> tuple[KeptToken, Secret]:
    kept, secret = KeptToken(limit), Secret("token")
    kept.put(DaemonToken(secret, issued), now, budget)
    return kept, secret


@pytest.fixture
def spent() -> Any:
    """A budget of which nothing is left at 0."""
    budget = Budget.full(450, 0.0)
    while budget.spend(0.0) == 0:
        pass
    return budget


def test_a_token_is_kept_until_the_budget_has_recovered(spent: Budget) -> None:
    kept, secret = kept_token(1e6, spent, 0.0, 0.0)
    assert kept.remaining(0.0) == pytest.approx(135 / spent.rate)
    assert not secret.forgotten
    assert kept.remaining(135 / spent.rate) == 0
    assert secret.forgotten


def test_a_token_is_never_kept_beyond_the_limit_since_it_was_issued(spent: Budget) -> None:
    kept, secret = kept_token(100, spent, -40.0, 0.0)
    assert kept.remaining(59.9) > 0
    assert kept.take(60.0) is None
    assert secret.forgotten


def test_a_token_that_need_not_be_kept_is_forgotten_at_once() -> None:
    kept, secret = kept_token(1e6, Budget.full(450, 0.0), 0.0, 0.0)
    assert secret.forgotten
    assert kept.take(0.0) is None


def test_a_token_that_is_taken_is_no_more_kept(spent: Budget) -> None:
    kept, secret = kept_token(1e6, spent, 0.0, 0.0)
    taken = kept.take(1.0)
    assert taken is not None
    assert taken.secret is secret
    assert kept.remaining(1.0) == 0
    kept.drop()
    assert not secret.forgotten, "it is the taker's"


def test_another_token_takes_the_place_of_the_one_before(spent: Budget) -> None:
    kept, secret = kept_token(1e6, spent, 0.0, 0.0)
    kept.put(DaemonToken(Secret("other"), 0.0), 0.0, spent)
    assert secret.forgotten
    kept.drop()
    kept.drop()
    assert kept.take(0.0) is None


async def opens(broker: Broker, target: Target) -> None:
    async with broker.lease(target, READS):
        pass


async def test_the_broker_keeps_as_it_must_and_says_so(azure: FakeAzure, contoso: Target) -> None:
    """One after the other, as fast as they can: first all steps, then with the kept token, then with the kept key."""
    broker = broker_of(azure, instances=10)
    for _ in range(60):
        await opens(broker, contoso)
    sources = [record["key_source"] for record in azure.records(contoso)]
    order = ["retrieved", "retained_token", "retained_key"]
    assert sources == sorted(sources, key=order.index)
    assert set(sources) == set(order)
    assert azure.count("manager") == sources.count("retrieved") + sources.count("retained_token")
    assert azure.count("entra") == sources.count("retrieved")
    assert azure.named("token_retained")
    told = azure.named("key_retained")
    assert len(told) == sources.count("retained_key") + 1
    assert all(0 < one["seconds"] <= LIMITS.keep_key for one in told)


async def test_what_is_kept_is_forgotten_in_time_by_itself(azure: FakeAzure, contoso: Target) -> None:
    broker = broker_of(azure, instances=10)
    for _ in range(60):
        await opens(broker, contoso)
    assert azure.alive("key")
    assert azure.alive("token")
    budget = broker._budgets[contoso.account.resource_id]
    await asyncio.sleep(1 / budget.rate + 0.001)
    assert not azure.alive("key")
    await asyncio.sleep(LIMITS.keep_token)
    assert not azure.alive()
    assert not broker._open


async def test_without_sharing_nothing_is_kept_whatever_the_budget(azure: FakeAzure, contoso: Target) -> None:
    broker = broker_of(azure, instances=40, share=False)
    for _ in range(6):
        await opens(broker, contoso)
        assert not azure.alive()
    assert azure.count("manager") == azure.count("vault") == 6
    with pytest.raises(BulkheadError) as caught:
        await opens(broker, contoso)
    assert caught.value.code == "tenant_access_over_budget"


async def test_a_key_is_kept_no_longer_than_the_limit_though_the_budget_would_want_it(
    azure: FakeAzure, contoso: Target
) -> None:
    broker = broker_of(azure, instances=200)
    await opens(broker, contoso)
    await asyncio.sleep(LIMITS.keep_key - 1)
    assert azure.alive("key")
    await opens(broker, contoso)
    await asyncio.sleep(1)
    assert not azure.alive("key")
    with pytest.raises(BulkheadError) as caught:
        await opens(broker, contoso)
    assert caught.value.code == "tenant_access_over_budget"
    assert caught.value.retry_after == pytest.approx(0.65 / (0.4 * 2.25 / 300) - LIMITS.keep_key, abs=1)
    assert azure.count("manager") == 1
    assert azure.count("vault") == 1, "no step is gone in vain"


async def test_a_failed_listing_counts(azure: FakeAzure, contoso: Target) -> None:
    broker = broker_of(azure, instances=450)
    azure.deny(contoso)
    with pytest.raises(BulkheadError):
        await opens(broker, contoso)
    await asyncio.sleep(5)
    with pytest.raises(BulkheadError) as caught:
        await opens(broker, contoso)
    assert caught.value.code == "tenant_access_over_budget"


async def test_a_short_wait_for_the_budget_is_waited(azure: FakeAzure, contoso: Target) -> None:
    broker = broker_of(azure, share=False)  # nothing is kept, so that every invocation lists
    for _ in range(270):
        await opens(broker, contoso)
    began = azure.loop.time()
    await opens(broker, contoso)
    assert 1 < azure.loop.time() - began < 2


async def test_budgets_are_remembered_while_they_are_in_use_or_not_full(azure: FakeAzure) -> None:
    broker = broker_of(azure, instances=40)
    used, spent, *others = [azure.add(Names("many", Names("", "").directory_id, number)) for number in range(1_001)]
    async with broker.lease(used, READS):
        await asyncio.sleep(400)
        for target in others[:997]:
            broker._budget(target.account.resource_id)
        await opens(broker, spent)
        in_use = broker._budgets[used.account.resource_id]
        assert in_use.untouched(azure.loop.time())
        assert len(broker._budgets) == 999
        await opens(broker, others[-1])
        assert set(broker._budgets) == {one.account.resource_id for one in (used, spent, others[-1])}
        assert broker._budgets[used.account.resource_id] is in_use
