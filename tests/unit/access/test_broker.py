"""An invocation's lease: what it is given, after what, with whom it shares it, and when it ends."""

import asyncio
from typing import Any

import msgspec
import pytest

from shared.access.broker import Broker
from shared.access.failures import AccessError, Failure
from shared.access.models import Account, Target
from shared.core.audit import AccessRecord, Head
from shared.core.errors import BulkheadError, Kind
from shared.core.lease import LeaseEndedError, LeaseLimits, Purpose
from tests.broker_stage import LIMITS, READS, WRITES, FakeAzure, broker_of, turns
from tests.examining import verify
from tests.fakes import CONTOSO_RETAIL

STEPS = ["vault", "entra", "manager"]
RECORD_AND_WORK = ["account", "account"]


async def work(broker: Broker, target: Target, purpose: Purpose = READS, seconds: float = 0.0) -> None:
    """One invocation."""
    async with broker.lease(target, purpose) as documents:
        await documents.read("candidates", "cand_1", "cand_1")
        await asyncio.sleep(seconds)


def steps(azure: FakeAzure) -> list[str]:
    return [service for _, service in azure.calls if service not in ("registry", "anchors")]


async def test_a_lease_goes_all_steps_and_writes_its_record_before_anything_else(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, READS) as documents:
        (record,) = azure.records(contoso)
        assert await documents.read("candidates", "cand_1", "cand_1") is None
    assert steps(azure) == STEPS + RECORD_AND_WORK
    for_record, for_work = azure.signatures
    assert (for_record.for_record, for_record.kind) == (True, "primary")
    assert (for_work.for_record, for_work.kind) == (False, "primary_readonly")
    assert record | {
        "tenant_id": contoso.tenant_id, "lease_id": for_work.lease_id, "actor": "user:1", "object_id": "cand_1",
        "action": "candidates.read", "request_id": "req_1", "daemon_client_id": contoso.daemon.client_id,
        "key_kind": "primary_readonly", "key_fingerprint": for_work.fingerprint, "key_source": "retrieved",
    } == record  # fmt: skip


async def test_a_purpose_that_writes_gets_the_key_that_writes(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, WRITES) as documents:
        await documents.create("candidates", {"id": "cand_1", "candidate_id": "cand_1"})
    assert [one.kind for one in azure.signatures] == ["primary", "primary"]
    assert azure.records(contoso)[0]["key_kind"] == "primary"


async def test_one_after_the_other_share_nothing(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    for _ in range(3):
        await work(broker, contoso)
    assert steps(azure) == (STEPS + RECORD_AND_WORK) * 3
    assert {record["key_source"] for record in azure.records(contoso)} == {"retrieved"}


async def test_those_at_once_share_one_retrieval_and_have_a_record_each(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays |= dict.fromkeys(STEPS, 0.1)
    await asyncio.gather(*(work(broker, contoso, seconds=1) for _ in range(5)))
    assert [azure.count(service) for service in STEPS] == [1, 1, 1]
    records = azure.records(contoso)
    assert sorted(record["key_source"] for record in records) == ["retrieved", *["shared"] * 4]
    assert {one.lease_id for one in azure.signatures if not one.for_record} == {one["lease_id"] for one in records}
    assert len(records) == 5


async def test_one_who_comes_while_another_is_inside_shares_its_key(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, READS):
        await asyncio.sleep(10)
        await work(broker, contoso)
        assert azure.alive("key"), "the first is still inside"
    assert azure.count("manager") == 1
    assert [record["key_source"] for record in azure.records(contoso)] == ["retrieved", "shared"]
    assert not azure.alive()


async def test_records_of_those_at_once_are_one_batch_in_one_chain(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays["vault"] = 0.1
    await asyncio.gather(*(work(broker, contoso) for _ in range(5)))
    assert sum(one.for_record for one in azure.signatures) == 1
    assert sorted(record["number"] for record in azure.records(contoso)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("service", STEPS)
async def test_a_leader_that_is_cancelled_does_not_end_it_for_the_others(
    azure: FakeAzure, broker: Broker, contoso: Target, service: str
) -> None:
    azure.delays[service] = 1
    leader = asyncio.create_task(work(broker, contoso))
    await turns()
    others = [asyncio.create_task(work(broker, contoso)) for _ in range(3)]
    await asyncio.sleep(0.5)
    leader.cancel()
    await asyncio.gather(*others)
    assert leader.cancelled()
    assert azure.count(service) == 1
    assert len(azure.records(contoso)) == 3


async def test_a_leader_that_is_cancelled_while_it_writes_for_all_does_not_end_it_for_the_others(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays |= {"manager": 1, "account": 1}
    first, *others, last = [asyncio.create_task(work(broker, contoso)) for _ in range(4)]
    await asyncio.sleep(1.5)
    first.cancel()
    last.cancel()
    await asyncio.gather(*others)
    leases = {one.lease_id for one in azure.signatures if not one.for_record}
    assert len(leases) == 2
    assert leases <= {record["lease_id"] for record in azure.records(contoso)}


async def test_a_batch_whose_signer_left_before_it_was_sent_is_written_by_another(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays["signing"] = 1
    *others, last = [asyncio.create_task(work(broker, contoso)) for _ in range(3)]
    await asyncio.sleep(0.5)
    last.cancel()
    await asyncio.gather(*others)
    assert last.cancelled()
    assert azure.count("manager") == 1
    assert len(azure.records(contoso)) == 2


async def test_one_that_waits_and_is_cancelled_harms_nobody(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    azure.delays["entra"] = 1
    leader = asyncio.create_task(work(broker, contoso))
    await turns()
    waiting = asyncio.create_task(work(broker, contoso))
    await asyncio.sleep(0.5)
    waiting.cancel()
    await leader
    assert waiting.cancelled()
    assert len(azure.records(contoso)) == 1


async def test_a_retrieval_that_fails_fails_all_who_wait_and_none_who_come_later(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays["manager"] = 1
    azure.faults["manager"].append(AccessError(3, Failure.DENIED, status=403))
    results = await asyncio.gather(*(work(broker, contoso) for _ in range(3)), return_exceptions=True)
    assert [getattr(result, "code", None) for result in results] == ["tenant_access_denied"] * 3
    assert azure.count("manager") == 1
    await asyncio.sleep(5)
    await work(broker, contoso)
    assert len(azure.records(contoso)) == 1


async def test_without_sharing_everyone_goes_all_steps(azure: FakeAzure, contoso: Target) -> None:
    broker = broker_of(azure, share=False)
    await asyncio.gather(*(work(broker, contoso, seconds=1) for _ in range(4)))
    assert [azure.count(service) for service in STEPS] == [4, 4, 4]
    assert {record["key_source"] for record in azure.records(contoso)} == {"retrieved"}
    assert not azure.alive()


async def test_without_sharing_one_that_leaves_takes_nothing_from_the_others(azure: FakeAzure, contoso: Target) -> None:
    broker = broker_of(azure, share=False)
    async with broker.lease(contoso, READS) as documents:
        await work(broker, contoso)
        await documents.read("candidates", "a", "a")
    assert azure.count("manager") == 2
    assert len(azure.records(contoso)) == 2


async def test_a_lease_is_over_when_its_block_is(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    async with broker.lease(contoso, WRITES) as documents:
        pass
    before = len(azure.calls)
    with pytest.raises(LeaseEndedError):
        await documents.read("candidates", "a", "a")
    assert len(azure.calls) == before, "nothing was sent"


async def test_a_lease_that_is_over_is_not_renewed_by_those_who_are_still_inside(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, WRITES):
        async with broker.lease(contoso, READS) as documents:
            pass
        for refused in (False, True):
            with pytest.raises(LeaseEndedError):
                await documents._signer.renew(refused=refused)  # type: ignore[attr-defined]
    assert azure.count("manager") == 1
    assert len(azure.records(contoso)) == 2


async def test_work_that_runs_on_when_the_block_ends_gets_no_key(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, READS) as documents:
        await asyncio.sleep(LIMITS.max_age)
        azure.delays["manager"] = 1
        straggler = asyncio.create_task(documents.read("candidates", "a", "a"))
        await asyncio.sleep(0.5)
    with pytest.raises(LeaseEndedError):
        await straggler
    assert not azure.alive()
    assert len(azure.records(contoso)) == 1


async def test_who_joins_late_has_the_key_no_longer_than_the_others(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    """Each lease sees to that itself, even if the key is not forgotten in time."""
    async with broker.lease(contoso, READS):
        await asyncio.sleep(LIMITS.max_age - 10)
        async with broker.lease(contoso, READS) as late:
            (compartment,) = broker._open
            assert compartment._timer is not None
            compartment._timer.cancel()
            await asyncio.sleep(10)
            await late.read("candidates", "cand_1", "cand_1")
    assert azure.count("manager") == 2


async def test_a_lease_beyond_its_maximum_age_is_renewed_with_a_new_listing_and_a_record(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    async with broker.lease(contoso, READS) as documents:
        await asyncio.sleep(LIMITS.max_age - 0.1)
        await documents.read("candidates", "a", "a")
        assert azure.count("manager") == 1
        await asyncio.sleep(0.2)
        assert not azure.alive("key")
        await documents.read("candidates", "a", "a")
    assert azure.count("manager") == 2
    assert len(azure.records(contoso)) == 2
    assert len({record["lease_id"] for record in azure.records(contoso)}) == 1


async def test_a_key_is_never_older_than_its_maximum_age_by_being_shared(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    tasks = []
    for _ in range(10):
        tasks.append(asyncio.create_task(work(broker, contoso, seconds=30)))
        await asyncio.sleep(20)
    await asyncio.gather(*tasks)
    assert azure.listed == pytest.approx([0, 60, 120, 180], abs=1)


async def test_two_tenants_never_share(azure: FakeAzure, broker: Broker, contoso: Target, fabrikam: Target) -> None:
    retail = azure.add(CONTOSO_RETAIL)
    targets = (contoso, fabrikam, retail)
    await asyncio.gather(*(work(broker, target) for target in targets for _ in range(3)))
    assert azure.count("manager") == 3
    for one in azure.signatures:
        assert one.owner == one.endpoint
    for target in targets:
        assert {record["tenant_id"] for record in azure.records(target)} == {target.tenant_id}
        assert len(azure.records(target)) == 3


async def test_a_signer_of_one_tenant_signs_nothing_for_another(
    broker: Broker, contoso: Target, fabrikam: Target
) -> None:
    async with broker.lease(contoso, WRITES) as documents, broker.lease(fabrikam, WRITES):
        signer: Any = documents._signer  # type: ignore[attr-defined]
        assert signer.sign(contoso.account.endpoint, "GET", "docs", "link", "date")
        with pytest.raises(LeaseEndedError):
            signer.sign(fabrikam.account.endpoint, "GET", "docs", "link", "date")


async def test_a_changed_target_is_another_compartment(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    """The tenant's account or daemon was changed while somebody is inside: nobody is let in by the old way."""
    other = azure.add(CONTOSO_RETAIL)
    changed = msgspec.structs.replace(contoso, account=other.account, daemon=other.daemon)
    async with broker.lease(contoso, READS) as old, broker.lease(changed, READS) as new:
        await old.read("candidates", "a", "a")
        await new.read("candidates", "a", "a")
    assert azure.count("manager") == 2
    assert {(one.endpoint, one.owner) for one in azure.signatures} == {
        (account.endpoint, account.endpoint) for account in (contoso.account, other.account)
    }


async def test_the_records_of_a_changed_account_lie_in_the_account_that_was_opened(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    other = azure.add(CONTOSO_RETAIL)
    changed = msgspec.structs.replace(contoso, account=other.account, daemon=other.daemon)
    azure.delays["account"] = 1
    await asyncio.gather(*(work(broker, target) for target in (contoso, changed, contoso, changed)))
    await asyncio.sleep(61)
    for target in (contoso, changed):
        assert len(azure.records(target)) == 2
        opened = {one.lease_id for one in azure.signatures if one.endpoint == target.account.endpoint}
        assert {record["lease_id"] for record in azure.records(target)} == opened
        assert sorted(record["number"] for record in azure.records(target)) == [1, 2]


async def test_a_failure_of_one_target_is_not_told_to_the_same_tenant_s_other(broker: Broker, contoso: Target) -> None:
    """Whoever tries out a new credential, and fails, does not shut the tenant out for that time."""
    wrong = msgspec.structs.replace(
        contoso, account=Account(resource_id="/elsewhere", endpoint=contoso.account.endpoint)
    )
    with pytest.raises(BulkheadError):
        await work(broker, wrong)
    await work(broker, contoso)


async def test_what_fails_inside_is_not_touched(broker: Broker, contoso: Target) -> None:
    error = BulkheadError(Kind.NOT_FOUND, "not_found", "There is no such thing.")
    with pytest.raises(BulkheadError) as caught:
        async with broker.lease(contoso, READS):
            raise error
    assert caught.value is error


@pytest.mark.parametrize("service", [*STEPS, "account"])
async def test_nobody_waits_longer_than_the_patience(
    azure: FakeAzure, broker: Broker, contoso: Target, service: str
) -> None:
    azure.delays[service] = 10_000
    with pytest.raises(BulkheadError) as caught:
        await work(broker, contoso)
    assert azure.loop.time() <= LIMITS.patience + 0.001
    assert caught.value.kind is Kind.UNAVAILABLE
    assert caught.value.retry_after is not None


async def test_the_patience_is_for_all_that_has_to_be_waited_for(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays |= {"entra": LIMITS.patience - 1, "account": 5}
    with pytest.raises(BulkheadError):
        await work(broker, contoso)
    assert azure.loop.time() <= LIMITS.patience + 0.001


async def test_a_retrieval_that_hangs_is_inherited_by_nobody(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    """Somebody is always waiting, so nobody's leaving ends it."""
    azure.delays["vault"] = 10_000
    waiting = []
    for _ in range(4):
        waiting.append(asyncio.create_task(work(broker, contoso)))
        await asyncio.sleep(LIMITS.patience - 1)
        azure.delays["vault"] = 0
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [BulkheadError, BulkheadError, type(None), type(None)]


async def test_a_batch_that_hangs_does_not_keep_the_next_ones_waiting(
    azure: FakeAzure, broker: Broker, contoso: Target
) -> None:
    azure.delays["account"] = 10_000
    first = asyncio.create_task(work(broker, contoso))
    await asyncio.sleep(1)
    azure.delays["account"] = 0
    second = asyncio.create_task(work(broker, contoso))
    await asyncio.sleep(LIMITS.patience - 1)
    assert second.done()
    await second
    with pytest.raises(BulkheadError):
        await first


async def test_a_key_that_is_never_good_for_long_enough_ends_in_a_refusal(azure: FakeAzure, contoso: Target) -> None:
    limits = LeaseLimits(max_age=0.5, keep_key=0, keep_token=0, patience=20)
    azure.delays["account"] = 1
    broker = broker_of(azure, limits)

    async def drop() -> None:
        raise LeaseEndedError

    azure.faults["account"] += [drop] * 9
    with pytest.raises(BulkheadError) as caught:
        await work(broker, contoso)
    assert caught.value.code == "tenant_access_interrupted"
    assert azure.count("account") == 5


async def test_a_log_written_by_many_verifies(azure: FakeAzure, broker: Broker, contoso: Target) -> None:
    azure.delays |= {"account": 0.05, "manager": 0.2}
    await asyncio.gather(*(work(broker, contoso, seconds=number % 3) for number in range(12)))
    await asyncio.sleep(61)
    stored = azure.accounts[contoso.account.endpoint].documents.all("access_log")
    records: Any = [msgspec.convert(one, AccessRecord) for one in stored if one["kind"] == "record"]
    heads: Any = [msgspec.convert(one, Head) for one in stored if one["kind"] == "head"]
    assert verify(records, heads, await azure.of(contoso.tenant_id)) == []
    assert len(records) == 12
