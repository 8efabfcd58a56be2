"""A lock on the tenant is in force within 5 seconds, also for those who are inside; no answer means no."""

import asyncio
import gc
from typing import Any

import pytest

from shared.access.broker import Broker
from shared.access.models import Target
from shared.access.retrieval import Steps
from shared.core.errors import BulkheadError, Kind
from tests.broker_stage import LIMITS, READS, WRITES, FakeAzure, broker_of, turns

CACHED = 2.0  # seconds that an entry of the registry may be old when somebody enters with it
IN_FORCE = 5.0


async def read(documents: Any) -> None:
    await documents.read("candidates", "a", "a")


async def refusal(documents: Any) -> BulkheadError:
    with pytest.raises(BulkheadError) as caught:
        await read(documents)
    return caught.value


async def test_whoever_is_inside_when_the_tenant_is_locked_signs_nothing_more(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, WRITES) as documents:
        await asyncio.sleep(30)
        azure.inactive.add(contoso.tenant_id)
        await asyncio.sleep(IN_FORCE)
        assert not azure.alive("key")
        sent = len(azure.signatures)
        error = await refusal(documents)
    assert error.code == "tenant_locked"
    assert len(azure.signatures) == sent
    assert azure.named("leases_dropped") == [{"tenant_id": contoso.tenant_id, "code": "tenant_locked"}]


@pytest.mark.parametrize("share", [True, False], ids=["shared", "unshared"])
@pytest.mark.parametrize("delay", [0.0, 1.49])
async def test_whoever_entered_with_an_old_entry_of_the_registry_too(
    azure: FakeAzure, contoso: Target, delay: float, share: Any
) -> None:
    azure.delays["registry"] = delay
    azure.inactive.add(contoso.tenant_id)
    await asyncio.sleep(CACHED)
    async with broker_of(azure, share=share).lease(contoso, READS) as documents:
        await read(documents)
        await asyncio.sleep(IN_FORCE - CACHED)
        assert (await refusal(documents)).code == "tenant_locked"


async def test_it_holds_for_those_who_are_on_their_way_to_a_key(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays["manager"] = 15
    azure.inactive.add(contoso.tenant_id)
    with pytest.raises(BulkheadError) as caught:
        async with broker.lease(contoso, READS):
            pass
    assert caught.value.code == "tenant_locked"
    assert azure.loop.time() < IN_FORCE
    await turns()
    assert not azure.alive()


async def test_it_is_told_to_one_whose_key_was_just_renewed(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    """The key is refused, renewed and on record, and then taken away before the request is sent again."""
    async with broker.lease(contoso, READS) as documents:
        azure.regenerate(contoso, "primary_readonly")
        azure.delays["signing"] = 2
        reading = asyncio.create_task(read(documents))
        await asyncio.sleep(4.0)
        azure.inactive.add(contoso.tenant_id)
        with pytest.raises(BulkheadError) as caught:
            await reading
    assert caught.value.code == "tenant_locked"
    assert len(azure.records(contoso)) == 2


@pytest.mark.parametrize("error", [BulkheadError(Kind.BROKEN, "registry_unreadable", "No."), ValueError("unforeseen")])
async def test_a_registry_that_cannot_be_read_means_no(
    azure: FakeAzure, broker: Broker, contoso: Target, error: Exception
) -> None:
    azure.faults["registry"].append(error)
    async with broker.lease(contoso, READS) as documents:
        await asyncio.sleep(2)
        told = await refusal(documents)
    assert told.code == (error.code if isinstance(error, BulkheadError) else "tenant_access_interrupted")


async def test_a_registry_that_does_not_answer_means_no(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    azure.delays["registry"] = 10_000
    async with broker.lease(contoso, READS) as documents:
        await asyncio.sleep(IN_FORCE)
        assert (await refusal(documents)).kind is Kind.UNAVAILABLE


async def test_a_watcher_that_fails_saves_no_lease(azure: FakeAzure, contoso: Target) -> None:
    def watch(_: str, /, **_fields: Any) -> None:
        raise ZeroDivisionError

    told: list[Any] = []
    azure.loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    steps = Steps(azure, azure, azure, azure.loop)
    broker = Broker(steps, azure, azure, azure, azure.loop, watch, LIMITS, share=True, instances=1)
    azure.inactive.add(contoso.tenant_id)
    async with broker.lease(contoso, READS) as documents:
        await asyncio.sleep(IN_FORCE)
        assert not azure.alive("key")
        assert (await refusal(documents)).code == "tenant_locked"
    gc.collect()
    assert [type(error) for error in told] == [ZeroDivisionError]


async def test_an_active_tenant_is_looked_at_again_and_again_and_only_while_somebody_is_inside(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, READS) as documents:
        await asyncio.sleep(12.6)
        await read(documents)
    assert azure.count("registry") == 10
    await asyncio.sleep(60)
    assert azure.count("registry") == 10


async def test_a_look_that_ends_after_everybody_left_starts_nothing(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays["registry"] = 1
    async with broker.lease(contoso, READS):
        await asyncio.sleep(2)
    await asyncio.sleep(60)
    assert azure.count("registry") == 1
    assert not broker._open


async def test_a_no_that_comes_after_everybody_left_harms_nobody(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays["registry"] = 1
    azure.inactive.add(contoso.tenant_id)
    async with broker.lease(contoso, READS):
        await asyncio.sleep(2)
    azure.inactive.clear()
    async with broker.lease(contoso, READS) as documents:
        await asyncio.sleep(1)
        await read(documents)


async def test_a_lock_is_no_other_tenant_s_matter(
    azure: FakeAzure, broker: Broker, contoso: Target, fabrikam: Target
) -> None:
    azure.inactive.add(contoso.tenant_id)
    async with broker.lease(contoso, READS), broker.lease(fabrikam, READS) as documents:
        await asyncio.sleep(IN_FORCE)
        await read(documents)


async def test_an_unlocked_tenant_is_served_again_at_once(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    azure.inactive.add(contoso.tenant_id)
    async with broker.lease(contoso, READS):
        await asyncio.sleep(IN_FORCE)
        azure.inactive.clear()
        async with broker.lease(contoso, READS) as documents:  # while one of before is still inside
            await read(documents)


async def test_a_key_that_a_budget_forces_to_be_kept_is_dropped_by_a_lock_too(
    azure: FakeAzure, contoso: Target
) -> None:
    broker = broker_of(azure, instances=200)
    for _ in range(2):
        async with broker.lease(contoso, READS):
            pass
    assert azure.alive("key")
    azure.inactive.add(contoso.tenant_id)
    await asyncio.sleep(IN_FORCE)
    assert not azure.alive()
    assert not broker._open


async def test_registration_is_not_held_up_by_a_registry_that_does_not_know_the_tenant_yet(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.inactive.add(contoso.tenant_id)
    async with broker.lease(contoso, WRITES, watched=False) as documents:
        await asyncio.sleep(30)
        await read(documents)
        async with broker.lease(contoso, READS) as watched:
            await asyncio.sleep(IN_FORCE)
            assert (await refusal(watched)).code == "tenant_locked"
        await read(documents)
    assert not broker._open
