"""The table of reactions, row by row: how often it is tried, after which pauses, what is remembered, what is told."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from shared.access.broker import Broker
from shared.access.failures import LONGEST_WAIT, REACTIONS, AccessError, Failure, Step, unavailable
from shared.access.models import Target
from shared.core.errors import BulkheadError, Kind
from tests.broker_stage import LIMITS, READS, FakeAzure, broker_of, turns

SERVICES: dict[str, Step] = {"vault": 1, "entra": 2, "manager": 3}
BY_AZURE = [failure for failure in Failure if failure not in (Failure.KEYS_REFUSED, Failure.OVER_BUDGET)]

# Written down here a second time, so that a change of the table is a decision and no accident:
# pauses before each further attempt, seconds for which it is remembered.
EXPECTED: dict[Failure, tuple[list[float], float]] = {
    Failure.CREDENTIAL_REJECTED: ([0.25, 0.5, 1.0], 2),
    Failure.DENIED: ([], 5),
    Failure.NOT_FOUND: ([], 5),
    Failure.THROTTLED: ([1.0], 5),
    Failure.TRANSIENT: ([0.2, 0.4], 0),
    Failure.UNANSWERED: ([], 5),
    Failure.MISCONFIGURED: ([], 5),
}


async def opens(broker: Broker, target: Target) -> None:
    async with broker.lease(target, READS):
        pass


async def refusal(broker: Broker, target: Target) -> BulkheadError:
    with pytest.raises(BulkheadError) as caught:
        await opens(broker, target)
    return caught.value


def starts(azure: FakeAzure, service: str) -> list[float]:
    return [moment for moment, name in azure.calls if name == service]


def test_every_failure_has_a_reaction_and_no_two_tell_the_same() -> None:
    assert set(REACTIONS) == set(Failure)
    assert set(EXPECTED) == set(BY_AZURE)
    assert len({reaction.code for reaction in REACTIONS.values()}) == len(REACTIONS)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("failure", BY_AZURE)
async def test_a_failure_that_stays(
    azure: FakeAzure, broker: Broker, contoso: Target, failure: Failure, service: str
) -> None:
    pauses, remembered = EXPECTED[failure]
    azure.faults[service] += [AccessError(SERVICES[service], failure, status=418)] * 20
    error = await refusal(broker, contoso)
    tries = starts(azure, service)
    assert [later - one for one, later in itertools.pairwise(tries)] == pytest.approx(pauses, abs=1e-3)
    assert len(starts(azure, "vault")) == len(tries), "each attempt begins with a fresh credential"
    assert (error.kind, error.code) == (Kind.UNAVAILABLE, REACTIONS[failure].code)
    assert error.retry_after == REACTIONS[failure].retry_after
    assert f"step {SERVICES[service]} of 5" in error.detail
    assert azure.named("access_failed") == [
        {"tenant_id": contoso.tenant_id, "step": SERVICES[service], "failure": failure, "status": 418}
    ]
    if remembered:
        await asyncio.sleep(remembered - 0.1)
        assert (await refusal(broker, contoso)).code == REACTIONS[failure].code
        assert len(starts(azure, service)) == len(tries), "Azure was not asked"
        assert len(azure.named("access_failed")) == 1
        await asyncio.sleep(0.2)
    azure.faults[service].clear()
    await opens(broker, contoso)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("failure", [failure for failure in BY_AZURE if EXPECTED[failure][0]])
async def test_a_failure_that_passes_is_not_noticed(
    azure: FakeAzure, broker: Broker, contoso: Target, failure: Failure, service: str
) -> None:
    azure.faults[service] += [AccessError(SERVICES[service], failure)] * len(EXPECTED[failure][0])
    await opens(broker, contoso)
    assert not azure.named("access_failed")
    assert len(azure.records(contoso)) == 1


async def test_a_credential_rotated_since_it_was_read_is_read_again(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async def rotate() -> None:
        azure.rotate(contoso)

    azure.faults["entra"].append(rotate)
    await opens(broker, contoso)
    assert (azure.count("vault"), azure.count("entra")) == (2, 2)


async def test_a_new_credential_that_spreads_slowly_is_waited_for(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.rotate(contoso, at_entra=False)
    azure.loop.call_later(1.5, azure.spread, contoso)
    await opens(broker, contoso)
    assert azure.count("vault") == 4


async def test_a_right_that_is_back_is_seen_seconds_later(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    azure.deny(contoso)
    assert (await refusal(broker, contoso)).code == "tenant_access_denied"
    azure.grant(contoso)
    assert (await refusal(broker, contoso)).code == "tenant_access_denied"
    await asyncio.sleep(5)
    await opens(broker, contoso)


async def test_retry_after_is_waited_when_it_is_short(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    azure.faults["manager"].append(AccessError(3, Failure.THROTTLED, status=429, retry_after=2.5))
    await opens(broker, contoso)
    first, second = starts(azure, "manager")
    assert second - first == pytest.approx(2.5, abs=1e-3)


async def test_retry_after_is_told_when_it_is_long_and_the_tenant_alone_waits_for_it(
    azure: FakeAzure, broker: Broker, contoso: Target, fabrikam: Target
) -> None:
    azure.faults["manager"].append(AccessError(3, Failure.THROTTLED, status=429, retry_after=30))
    assert (await refusal(broker, contoso)).retry_after == 30
    await opens(broker, fabrikam)
    await asyncio.sleep(10)
    assert (await refusal(broker, contoso)).retry_after == pytest.approx(20, abs=1e-3)
    assert azure.count("manager") == 2
    await asyncio.sleep(20)
    await opens(broker, contoso)


async def test_nobody_is_shut_out_for_longer_than_the_bound(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    azure.faults["vault"].append(AccessError(1, Failure.THROTTLED, status=429, retry_after=1e8))
    assert (await refusal(broker, contoso)).retry_after == LONGEST_WAIT
    await asyncio.sleep(LONGEST_WAIT)
    await opens(broker, contoso)


async def test_whoever_is_inside_goes_on_while_the_tenant_is_shut_out(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, READS):
        unshared = asyncio.create_task(opens(broker, contoso))
        await unshared
        broker._remember(contoso, AccessError(3, Failure.DENIED))
        await opens(broker, contoso)
        assert azure.count("manager") == 1
        await asyncio.sleep(LIMITS.max_age)
    await opens(broker, contoso)


async def test_a_kept_token_whose_right_is_gone_is_not_the_last_word(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    """The right may have been given anew, which only a new token shows."""
    budget = broker._budget(contoso.account.resource_id)
    while budget.level(azure.loop.time()) > 100:
        budget.spend(azure.loop.time())
    await opens(broker, contoso)
    assert azure.alive("token")
    azure.faults["manager"].append(AccessError(3, Failure.DENIED, status=403))
    await opens(broker, contoso)
    assert (azure.count("manager"), azure.count("entra")) == (3, 2)
    azure.faults["manager"].append(AccessError(3, Failure.MISCONFIGURED, status=400))
    await refusal(broker, contoso)
    assert (azure.count("manager"), azure.count("entra")) == (4, 2)
    await turns()
    assert not azure.alive("token")


async def test_failures_of_many_tenants_do_not_pile_up(
    azure: FakeAzure, broker: Broker, contoso: Target, fabrikam: Target
) -> None:
    azure.deny(contoso)
    await refusal(broker, contoso)
    await asyncio.sleep(60)
    azure.deny(fabrikam)
    await refusal(broker, fabrikam)
    assert set(broker._failed) == {fabrikam}


@pytest.mark.parametrize(("service", "step"), [("vault", 1), ("manager", 1), ("account", 5)])
async def test_a_tenant_that_hangs_holds_few_invocations(
    azure: FakeAzure, broker: Broker, contoso: Target, fabrikam: Target, service: str, step: int
) -> None:
    """One a second: those of the first quarter of the patience wait, who comes later is told so at once."""
    azure.delays[service] = 10_000
    waiting, told = [], []
    for _ in range(int(LIMITS.patience) - 1):
        waiting.append(asyncio.create_task(refusal(broker, contoso)))
        await asyncio.sleep(1)
        told.append(waiting[-1].done())
    assert told == [False] * 5 + [True] * 14
    refused = [await one for one in waiting]
    assert {error.code for error in refused} == {"tenant_access_unanswered"}
    assert {error.retry_after for error in refused} == {10}
    assert {f"step {3 if step < 5 else 5} of 5" in error.detail for error in refused} == {True}
    azure.delays.clear()
    await opens(broker, fabrikam)
    assert not broker._waiting


@pytest.mark.parametrize("patience", [8, 20, 60])
async def test_those_behind_a_record_that_hangs_have_their_turn(
    azure: FakeAzure, contoso: Target, patience: int
) -> None:
    async def hang() -> None:
        await asyncio.sleep(10_000)

    broker = broker_of(azure, replace(LIMITS, patience=patience))
    azure.faults["account"].append(hang)
    first = asyncio.create_task(refusal(broker, contoso))
    await asyncio.sleep(1)
    await opens(broker, contoso)
    assert (await first).code == "tenant_access_unanswered"
    assert azure.loop.time() == pytest.approx(min(10, patience / 2), abs=0.1)


async def test_a_tenant_that_hung_is_asked_again_seconds_later(
    azure: FakeAzure, broker: Broker, contoso: Target, fabrikam: Target
) -> None:
    azure.delays["account"] = 10_000
    assert (await refusal(broker, contoso)).code == "tenant_access_unanswered"
    azure.delays.clear()
    asked = azure.count("vault")
    assert (await refusal(broker, contoso)).code == "tenant_access_unanswered"
    assert azure.count("vault") == asked
    await opens(broker, fabrikam)
    await asyncio.sleep(REACTIONS[Failure.UNANSWERED].remembered)
    await opens(broker, contoso)


async def test_an_error_that_nobody_foresaw_is_nobody_else_s(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    azure.faults["vault"].append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await opens(broker, contoso)
    await opens(broker, contoso)


async def test_a_service_that_answers_though_it_was_given_up_leaves_nothing(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    """A library that swallows a cancellation must not bring a key into a compartment that nobody looks after."""
    budget = broker._budget(contoso.account.resource_id)
    while budget.level(azure.loop.time()) > 100:
        budget.spend(azure.loop.time())

    async def stubborn() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            await asyncio.sleep(5)

    azure.faults["manager"].append(stubborn)
    task = asyncio.create_task(opens(broker, contoso))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(10)
    assert azure.count("manager") == 1
    assert not azure.alive()


def test_the_step_and_a_time_to_come_back_are_told() -> None:
    for failure in Failure:
        told: Any = unavailable(AccessError(2, failure, retry_after=7))
        assert (told.kind, told.retry_after) == (Kind.UNAVAILABLE, 7)
        assert unavailable(AccessError(2, failure)).retry_after == REACTIONS[failure].retry_after
