"""A key that was regenerated meanwhile: dropped, listed again, then the other key, then no more."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from shared.access.broker import Broker
from shared.access.documents import KeyRefusedError
from shared.access.models import Target
from shared.core.errors import BulkheadError, Kind
from tests.broker_stage import KINDS, READS, WRITES, FakeAzure


async def read(documents: Any) -> None:
    await documents.read("candidates", "a", "a")


def signed(azure: FakeAzure) -> list[str]:
    return [one.kind for one in azure.signatures]


@pytest.mark.parametrize(
    ("purpose", "kind", "other"), [(READS, "primary_readonly", "secondary_readonly"), (WRITES, "primary", "secondary")]
)
async def test_a_lease_whose_key_is_refused_lists_again_and_goes_on(
    azure: FakeAzure, broker: Broker, contoso: Target, purpose: Any, kind: Any, other: str
) -> None:
    async with broker.lease(contoso, purpose) as documents:
        azure.regenerate(contoso, kind)
        await read(documents)
        await read(documents)
    assert azure.count("manager") == 2
    assert Counter(record["key_source"] for record in azure.records(contoso)) == {"retrieved": 2}
    assert len({record["lease_id"] for record in azure.records(contoso)}) == 1
    assert other not in signed(azure), "the new key was listed, so the other one is not needed"


async def test_a_listing_that_still_shows_the_old_key_makes_it_the_other_one(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, WRITES) as documents:
        shown = dict(azure.keys_of(contoso))
        azure.regenerate(contoso, "primary")
        in_force = dict(azure.keys_of(contoso))

        async def show_old() -> None:
            azure.keys_of(contoso).update(shown)
            azure.loop.call_soon(azure.keys_of(contoso).update, in_force)

        azure.faults["manager"].append(show_old)
        await read(documents)
        await read(documents)
    assert signed(azure)[-2:] == ["secondary", "secondary"]
    assert azure.records(contoso)[-1]["key_kind"] == "secondary"


async def test_a_key_regenerated_between_listing_and_record_is_noticed_by_the_record(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async def regenerate() -> None:
        azure.regenerate(contoso, "primary")

    azure.faults["account"].append(regenerate)
    async with broker.lease(contoso, READS) as documents:
        await read(documents)
    assert azure.count("manager") == 2
    assert len(azure.records(contoso)) == 1
    assert signed(azure) == ["primary", "primary", "primary_readonly"]


async def test_when_no_key_is_taken_the_invocation_fails_and_the_next_ones_are_told_for_a_while(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    """The account is asked once for each key, and Resource Manager once more for each: then it is given up."""
    shown = dict(azure.keys_of(contoso))
    for kind in ("primary", "secondary"):
        azure.regenerate(contoso, kind)
    in_force = dict(azure.keys_of(contoso))

    async def show_old() -> None:
        azure.keys_of(contoso).update(shown)
        azure.loop.call_soon(azure.keys_of(contoso).update, in_force)

    azure.faults["manager"] += [show_old] * 9
    with pytest.raises(BulkheadError) as caught:
        async with broker.lease(contoso, WRITES):
            pass
    assert caught.value.code == "tenant_access_keys_refused"
    assert signed(azure) == ["primary", "secondary"]
    assert azure.count("manager") == 3
    assert not azure.records(contoso)
    azure.faults["manager"].clear()
    with pytest.raises(BulkheadError):
        async with broker.lease(contoso, WRITES):
            pass
    assert azure.count("manager") == 3
    await asyncio.sleep(2)
    async with broker.lease(contoso, WRITES) as documents:
        await read(documents)


async def test_a_key_refused_by_mistake_is_tried_again_by_those_who_come_later(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    """Somebody stays inside all the time, so that the compartment itself remembers."""
    async with broker.lease(contoso, READS) as documents:
        # Both keys for reading are refused; the one for writing, with which the renewal is recorded, is not.
        azure.faults["account"] += [KeyRefusedError(), None, KeyRefusedError()]
        with pytest.raises(BulkheadError) as caught:
            await read(documents)
        assert caught.value.code == "tenant_access_keys_refused"
        await asyncio.sleep(2)
        async with broker.lease(contoso, READS) as others:
            await read(others)


async def test_all_inside_go_on_after_one_of_them_noticed(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    async with broker.lease(contoso, WRITES) as one, broker.lease(contoso, WRITES) as other:
        azure.regenerate(contoso, "primary")
        await read(one)
        assert len(azure.alive("key")) == len(KINDS), "the other one's key was forgotten with the listing that it is of"
        await asyncio.gather(read(one), read(other))
    assert azure.count("manager") == 2
    assert len(azure.records(contoso)) == 4


async def test_a_foreign_right_key_is_not_mistaken_for_the_own(
    azure: FakeAzure, broker: Broker, contoso: Target, fabrikam: Target
) -> None:
    """An account that takes no key of its tenant is not tried with anybody else's."""
    async with broker.lease(fabrikam, WRITES), broker.lease(contoso, WRITES) as documents:
        for kind in ("primary", "secondary"):
            azure.regenerate(contoso, kind)
        azure.deny(contoso)
        with pytest.raises(BulkheadError) as caught:
            await read(documents)
    assert caught.value.kind is Kind.UNAVAILABLE
    assert all(one.owner == one.endpoint for one in azure.signatures)
