"""Access records: durable before anything is disclosed, in chains that are whole whatever happens, anchored in time."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared.access.documents import Document, DocumentExistsError, KeyRefusedError
from shared.access.recorder import Recorder
from shared.core.audit import AccessRecord, Head, disclosure
from shared.core.context import REQUEST_ID
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import LeaseId, RequestId, TenantId, new_id
from shared.core.lease import Purpose
from tests.broker_stage import FakeAzure, broker_of, turns
from tests.examining import verify
from tests.fakes import CONTOSO, TENANT_CONTAINERS, InMemoryDocuments, Names, tenant_documents

TENANT = TenantId("ten_1")
PURPOSE = Purpose("user:1", "candidates.read", "cand_1", "req_1", writes=False)
NO_ANSWER = BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "The account does not answer.")


@pytest.fixture
def recorder(azure: FakeAzure) -> Recorder:
    return Recorder(TENANT, azure.loop, azure, azure.watch, within=10)


@pytest.fixture
def documents() -> InMemoryDocuments:
    return tenant_documents()


@pytest.fixture
def slow() -> InMemoryDocuments:
    """It takes a second to write."""

    class Slow(InMemoryDocuments):
        async def write_together(self, *arguments: Any) -> None:
            await asyncio.sleep(1)
            await super().write_together(*arguments)

    return Slow(TENANT_CONTAINERS)


def write(azure: FakeAzure, recorder: Recorder, documents: Any, lease: str = "lea_1") -> asyncio.Task[None]:
    now = azure.loop.now()
    disclosed = disclosure(
        new_id("acc", now), now, TENANT, LeaseId(lease), PURPOSE, "daemon", "primary_readonly", "f", "retrieved"
    )
    return asyncio.ensure_future(recorder.write(disclosed, documents))


def stored(documents: InMemoryDocuments) -> tuple[list[AccessRecord], list[Head]]:
    """Records in the order of their writers' numbers, and heads."""
    all_of_them = documents.all("access_log")
    records = [msgspec.convert(one, AccessRecord) for one in all_of_them if one["kind"] == "record"]
    heads = [msgspec.convert(one, Head) for one in all_of_them if one["kind"] == "head"]
    return sorted(records, key=lambda one: (one.writer, one.number)), heads


def batches(documents: InMemoryDocuments) -> int:
    return sum(operation == "write_together" for operation, _, _ in documents.calls)


async def test_a_record_is_stored_with_its_head_before_write_returns(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    await write(azure, recorder, documents)
    records, heads = stored(documents)
    assert [(one.number, one.lease_id) for one in records] == [(1, "lea_1")]
    assert heads == [Head(writer=records[0].writer, number=1, hash=records[0].hash)]
    assert {body["month"] for body in documents.all("access_log")} == {"2026-01"}


async def test_those_who_come_while_a_batch_is_written_are_the_next_batch(
    azure: FakeAzure, recorder: Recorder, slow: InMemoryDocuments
) -> None:
    first = write(azure, recorder, slow, "lea_0")
    await asyncio.sleep(0.5)
    others = [write(azure, recorder, slow, f"lea_{number}") for number in range(1, 6)]
    await asyncio.gather(first, *others)
    assert batches(slow) == 2
    records, heads = stored(slow)
    assert [one.lease_id for one in records] == [f"lea_{number}" for number in range(6)]
    assert verify(records, heads, []) == []
    assert len({one.writer for one in records}) == 1


async def test_a_batch_is_sent_in_the_context_of_whoever_signs_it(azure: FakeAzure, recorder: Recorder) -> None:
    """On a busy tenant one batch follows the other: they must not all go out under the id of the first invocation."""
    sent = []

    class Noting(InMemoryDocuments):
        async def write_together(self, *_: Any) -> None:
            sent.append(REQUEST_ID.get())
            await asyncio.sleep(1)

    async def invocation(name: str) -> None:
        REQUEST_ID.set(RequestId(name))
        await write(azure, recorder, Noting({}))

    tasks = []
    for number in range(4):
        tasks.append(asyncio.create_task(invocation(f"req_{number}")))
        await asyncio.sleep(0.6)
    await asyncio.gather(*tasks)
    assert sent == ["req_0", "req_1", "req_3"]


async def test_a_batch_that_is_cancelled_with_its_process_is_the_last(
    azure: FakeAzure, recorder: Recorder, slow: InMemoryDocuments
) -> None:
    waiting = [write(azure, recorder, slow)]
    await asyncio.sleep(0.5)
    waiting.append(write(azure, recorder, slow))
    await asyncio.sleep(0)
    assert isinstance(recorder._writing, asyncio.Task)
    recorder._writing.cancel()
    await asyncio.sleep(5)
    assert batches(slow) == 0
    for task in waiting:
        task.cancel()


async def test_a_batch_is_never_larger_than_the_account_takes(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    """The fake refuses more than 100 documents, as Cosmos DB does."""
    await asyncio.gather(*(write(azure, recorder, documents) for _ in range(250)))
    assert batches(documents) == 3
    records, heads = stored(documents)
    assert [one.number for one in records] == list(range(1, 251))
    assert verify(records, heads, []) == []


async def test_the_last_who_came_signs_for_all(azure: FakeAzure, recorder: Recorder) -> None:
    """Its key was listed last."""
    older, newer = tenant_documents(), tenant_documents()
    await asyncio.gather(write(azure, recorder, older), write(azure, recorder, newer))
    assert (batches(older), batches(newer)) == (0, 1)


@pytest.mark.parametrize("error", [NO_ANSWER, KeyRefusedError(), ZeroDivisionError()])
async def test_a_failure_is_everybody_s_in_the_batch_and_nothing_counts_as_written(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments, error: Exception
) -> None:
    documents.failures.append(error)
    results = await asyncio.gather(*(write(azure, recorder, documents) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [type(error)] * 3
    assert stored(documents) == ([], [])
    await write(azure, recorder, documents)
    records, heads = stored(documents)
    assert [one.number for one in records] == [1]
    assert verify(records, heads, []) == []


async def test_a_lost_answer_ends_the_chain_and_either_way_it_is_whole(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    await write(azure, recorder, documents)
    documents.failures_after.append(NO_ANSWER)
    with pytest.raises(BulkheadError):
        await write(azure, recorder, documents)
    await write(azure, recorder, documents)
    records, heads = stored(documents)
    assert sorted(one.number for one in records) == [1, 1, 2]
    assert verify(records, heads, []) == []


async def test_what_was_sent_twice_because_its_answer_was_lost_is_written(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    for _ in range(2):
        documents.failures_after.append(DocumentExistsError())
        await asyncio.gather(*(write(azure, recorder, documents) for _ in range(3)))
    records, heads = stored(documents)
    assert sorted(one.number for one in records) == [1, 2, 3, 4, 5, 6]
    assert verify(records, heads, []) == []


@pytest.mark.parametrize("found", [None, Document({"hash": "another's"}, "etag")])
async def test_a_conflict_with_what_is_not_this_record_is_a_failure(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments, found: Document | None
) -> None:
    class Conflicting(InMemoryDocuments):
        async def read(self, *_: Any) -> Document | None:
            return found

    conflicting = Conflicting(TENANT_CONTAINERS)
    conflicting.failures.append(DocumentExistsError())
    with pytest.raises(BulkheadError) as caught:
        await write(azure, recorder, conflicting)
    assert (caught.value.kind, caught.value.code) == (Kind.UNAVAILABLE, "account_unavailable")
    assert stored(conflicting) == ([], [])
    await write(azure, recorder, documents)
    assert [one.number for one in stored(documents)[0]] == [1]


async def test_a_write_that_hangs_is_given_up_in_time(azure: FakeAzure, recorder: Recorder) -> None:
    class Hanging(InMemoryDocuments):
        async def write_together(self, *_: Any) -> None:
            await asyncio.sleep(10_000)

    with pytest.raises(TimeoutError):
        await write(azure, recorder, Hanging({}))
    assert azure.loop.time() == pytest.approx(10, abs=1e-3)


async def test_who_gives_up_waiting_is_left_out_unless_it_is_under_way(
    azure: FakeAzure, recorder: Recorder, slow: InMemoryDocuments
) -> None:
    under_way = write(azure, recorder, slow, "lea_0")
    await asyncio.sleep(0.5)
    waiting = [write(azure, recorder, slow, f"lea_{number}") for number in (1, 2)]
    await asyncio.sleep(0)
    under_way.cancel()
    waiting[0].cancel()
    await waiting[1]
    records, heads = stored(slow)
    assert [one.lease_id for one in records] == ["lea_0", "lea_2"], "what was under way is on record for nothing"
    assert verify(records, heads, []) == []


async def test_when_all_who_waited_gave_up_nothing_is_written(
    azure: FakeAzure, recorder: Recorder, slow: InMemoryDocuments
) -> None:
    first = write(azure, recorder, slow)
    await asyncio.sleep(0.5)
    second = write(azure, recorder, slow)
    await asyncio.sleep(0)
    second.cancel()
    await first
    await turns()
    assert batches(slow) == 1


async def test_one_that_fails_after_it_gave_up_is_no_noise(
    azure: FakeAzure, recorder: Recorder, slow: InMemoryDocuments
) -> None:
    slow.failures.append(NO_ANSWER)
    first = write(azure, recorder, slow)
    await asyncio.sleep(0.5)
    first.cancel()
    await asyncio.wait((first,))
    await turns()
    assert first.cancelled()
    assert stored(slow) == ([], [])


async def test_a_month_begins_with_a_head_of_its_own_and_the_chain_goes_on(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    await write(azure, recorder, documents)
    await asyncio.sleep(31 * 86_400)
    await write(azure, recorder, documents)
    records, heads = stored(documents)
    assert [one.number for one in records] == [1, 2]
    assert {body["month"] for body in documents.all("access_log")} == {"2026-01", "2026-02"}
    assert sorted(head.number for head in heads) == [1, 2]
    assert verify(records, heads, []) == []


async def test_writers_of_thousands_of_tenants_are_not_all_remembered(azure: FakeAzure) -> None:
    broker = broker_of(azure)
    targets = [azure.add(Names("many", CONTOSO, number)) for number in range(2_002)]
    for target in (targets[0], targets[1], targets[0], *targets[2:-1]):
        broker._recorder(target)
    assert len(broker._recorders) == 2_000
    kept = {account for _, account in broker._recorders}
    assert targets[0].account in kept, "it was used after the other"
    assert targets[1].account not in kept


# --- anchors ---


async def test_the_head_is_anchored_at_once_and_then_once_a_minute(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    for _ in range(150):
        await write(azure, recorder, documents)
        await asyncio.sleep(1)
    await asyncio.sleep(60)
    moments = [moment for moment, name in azure.calls if name == "anchors"]
    assert moments == pytest.approx([0, 60, 120, 180], abs=1)
    _, heads = stored(documents)
    assert await azure.of(TENANT) == heads
    await asyncio.sleep(600)
    assert azure.count("anchors") == 4, "nothing new, nothing to keep"


async def test_an_anchor_that_fails_is_told_and_tried_again_a_minute_later(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    azure.faults["anchors"].append(NO_ANSWER)
    await write(azure, recorder, documents)
    await asyncio.sleep(30)
    assert azure.named("access_log_not_anchored") == [{"tenant_id": TENANT, "code": "account_unavailable"}]
    assert await azure.of(TENANT) == []
    await asyncio.sleep(31)
    _, heads = stored(documents)
    assert await azure.of(TENANT) == heads


async def test_what_is_written_while_an_anchor_is_kept_is_kept_next(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    azure.delays["anchors"] = 5
    await write(azure, recorder, documents)
    await asyncio.sleep(1)
    await write(azure, recorder, documents)
    await asyncio.sleep(10)
    assert [head.number for head in await azure.of(TENANT)] == [1]
    await asyncio.sleep(60)
    assert [head.number for head in await azure.of(TENANT)] == [2]


async def test_a_chain_that_ended_is_anchored_too(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    await write(azure, recorder, documents)
    await asyncio.sleep(1)
    await write(azure, recorder, documents)
    documents.failures.append(NO_ANSWER)
    with pytest.raises(BulkheadError):
        await write(azure, recorder, documents)
    await write(azure, recorder, documents)
    await asyncio.sleep(61)
    records, heads = stored(documents)
    anchors = await azure.of(TENANT)
    assert sorted(anchors, key=str) == sorted(heads, key=str)
    assert len(anchors) == 2
    assert verify(records, heads, anchors) == []


async def test_an_anchor_that_fails_in_an_unforeseen_way_stops_none_of_the_later_ones(
    azure: FakeAzure, recorder: Recorder, documents: InMemoryDocuments
) -> None:
    told: list[Any] = []
    azure.loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    azure.faults["anchors"].append(ZeroDivisionError())
    await write(azure, recorder, documents)
    await asyncio.sleep(61)
    assert len(await azure.of(TENANT)) == 1
    assert [type(error) for error in told] == [ZeroDivisionError]


async def test_records_of_the_last_moment_of_a_month_are_in_its_partition(
    azure: FakeAzure, recorder: Recorder, slow: InMemoryDocuments
) -> None:
    """However late they are written, and with whatever they wait; else a page of the log would skip some."""
    writing = [write(azure, recorder, slow)]
    await asyncio.sleep(timedelta(days=31).total_seconds() - 0.5)
    writing += [write(azure, recorder, slow), write(azure, recorder, slow)]
    await asyncio.sleep(0.1)
    writing.append(write(azure, recorder, slow))
    await asyncio.sleep(0.6)
    writing.append(write(azure, recorder, slow))
    await asyncio.gather(*writing)
    found = {
        body["id"]: (body["month"], body["time"][:7]) for body in slow.all("access_log") if body["kind"] == "record"
    }
    assert [found[name] for name in sorted(found)] == [("2026-01", "2026-01")] * 4 + [("2026-02", "2026-02")]
    assert verify(*stored(slow), []) == []
