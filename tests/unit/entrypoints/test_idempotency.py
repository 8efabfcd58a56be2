import asyncio
from typing import Any

import pytest

from shared.core.errors import BulkheadError, Kind
from shared.entrypoints.idempotency import Answer, claim, once
from tests.fakes import tenant_documents

ANSWER = Answer(status=201, body='{"id":"cand_1"}', headers={"Location": "/api/candidates/cand_1"})


@pytest.fixture
def documents() -> Any:
    return tenant_documents()


class Work:
    """Takes its time, and notes the ids that it was given; raises its errors first."""

    def __init__(self, *errors: Any, seconds: float = 0) -> None:
        self.errors = list(errors)
        self.seconds = seconds
        self.ids = []
        self.started = asyncio.Event()

    async def __call__(self, object_id: Any) -> Any:
        self.ids.append(object_id)
        self.started.set()
        await asyncio.sleep(self.seconds)
        if self.errors:
            raise self.errors.pop(0)
        return ANSWER


async def send(
    documents: Any,
    work: Any,
    own_id: Any = "cand_1",
    *,
    key: Any = "key-1",
    payload: Any = b"{}",
    scope: Any = "POST candidates",
) -> Any:
    """A request. The time is the loop's, which is simulated."""
    clock: Any = asyncio.get_running_loop()
    return await once(documents, scope, key, payload, own_id, clock, work)


async def begin(documents: Any, work: Any, own_id: Any = "cand_1") -> Any:
    """A request whose work has begun."""
    task = asyncio.create_task(send(documents, work, own_id))
    await work.started.wait()
    return task


async def crash(documents: Any, work: Any) -> None:
    """A first request whose process ends in the middle."""
    task = await begin(documents, work)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def error(kind: Kind) -> Any:
    return BulkheadError(kind, "code", "Detail.")


async def refused(awaitable: Any) -> Any:
    with pytest.raises(BulkheadError) as caught:
        await awaitable
    return caught.value


async def test_the_first_answer_is_given_again(documents: Any) -> None:
    work = Work()
    assert await send(documents, work) == ANSWER
    await asyncio.sleep(23 * 3600)
    assert await send(documents, work, "cand_2") == ANSWER
    assert work.ids == ["cand_1"]


async def test_another_body_is_refused(documents: Any) -> None:
    work = Work()
    await send(documents, work)
    caught = await refused(send(documents, work, "cand_2", payload=b'{"a":1}'))
    assert (caught.kind, caught.code) == (Kind.UNPROCESSABLE, "idempotency_key_reused")
    assert work.ids == ["cand_1"]


async def test_another_key_or_route_is_another_request(documents: Any) -> None:
    work = Work()
    await send(documents, work)
    await send(documents, work, "cand_2", key="key-2")
    await send(documents, work, "rep_1", scope="POST reports")
    assert work.ids == ["cand_1", "cand_2", "rep_1"]


async def test_while_the_first_runs_the_second_is_told_so(documents: Any) -> None:
    work = Work()
    first, second = await asyncio.gather(
        send(documents, work), refused(send(documents, work, "cand_2")), return_exceptions=True
    )
    assert first == ANSWER
    assert (second.kind, second.code) == (Kind.CONFLICT, "request_in_progress")
    assert second.retry_after == pytest.approx(10, abs=0.01)
    assert work.ids == ["cand_1"]


# --- taking over ---


@pytest.mark.parametrize("seconds", [0, 4, 9.9])
async def test_after_a_crash_a_retry_is_told_when_it_may_take_over(documents: Any, seconds: Any) -> None:
    work = Work()
    await crash(documents, work)
    await asyncio.sleep(seconds)
    told = await refused(send(documents, work, "cand_2"))
    assert (told.code, told.retry_after) == ("request_in_progress", pytest.approx(10 - seconds, abs=0.01))
    await asyncio.sleep(told.retry_after)
    assert await send(documents, work, "cand_2") == ANSWER
    assert work.ids == ["cand_1", "cand_1"], "the same id: nothing is made twice"


async def test_of_two_that_take_over_one_works(documents: Any) -> None:
    work = Work()
    await crash(documents, work)
    await asyncio.sleep(11)
    results = await asyncio.gather(
        *(send(documents, work, own_id) for own_id in ("cand_2", "cand_3")), return_exceptions=True
    )
    assert results.count(ANSWER) == 1
    assert [one.code for one in results if one != ANSWER] == ["request_in_progress"]
    assert work.ids == ["cand_1", "cand_1"]  # the crash, and one retry


async def test_a_long_work_stays_its_requests(documents: Any) -> None:
    first = await begin(documents, work := Work(seconds=200))
    for _ in range(19):
        await asyncio.sleep(10)
        told = await refused(send(documents, work, "cand_2"))
        assert (told.code, 6 < told.retry_after <= 10) == ("request_in_progress", True)
    assert await first == ANSWER
    assert await send(documents, work, "cand_2") == ANSWER
    assert work.ids == ["cand_1"]


async def test_nothing_is_renewed_after_the_end(documents: Any) -> None:
    await send(documents, Work())
    await refused(send(documents, Work(error(Kind.CONFLICT)), "cand_2", key="key-2"))
    calls = len(documents.calls)
    await asyncio.sleep(60)
    assert len(documents.calls) == calls
    assert len(asyncio.all_tasks()) == 1


async def test_a_renewal_may_fail(documents: Any) -> None:
    first = await begin(documents, work := Work(seconds=30))
    documents.failures = [error(Kind.UNAVAILABLE), error(Kind.THROTTLED)]
    await asyncio.sleep(10)
    assert (await refused(send(documents, work, "cand_2"))).code == "request_in_progress"
    assert await first == ANSWER
    assert documents.all("idempotency")[0]["answer"]["body"] == ANSWER.body


async def test_who_lost_its_record_unseen_has_the_same_answer(documents: Any) -> None:
    first = await begin(documents, slow := Work(seconds=30))
    documents.failures = [error(Kind.UNAVAILABLE)] * 3
    await asyncio.sleep(10.5)
    assert await send(documents, second := Work(), "cand_2") == ANSWER
    assert await first == ANSWER
    assert slow.ids == second.ids == ["cand_1"]
    assert documents.all("idempotency")[0]["holder"] == "cand_2"


async def test_who_lost_its_record_unseen_does_not_free_the_key(documents: Any) -> None:
    first = await begin(documents, Work(error(Kind.CONFLICT), seconds=30))
    documents.failures = [error(Kind.UNAVAILABLE)] * 3
    await asyncio.sleep(10.5)
    assert await send(documents, Work(), "cand_2") == ANSWER
    assert (await refused(first)).kind is Kind.CONFLICT
    assert await send(documents, work := Work(), "cand_3") == ANSWER
    assert work.ids == []


# --- lost answers: the SDK sends a write again and is told that it is there, or changed ---


class Resending:
    """Documents whose client loses the answer to one `operation`, after some others, and sends it again."""

    def __init__(self, documents: Any, operation: str, after: int = 0) -> None:
        self._documents = documents
        self._operation = operation
        self._left = after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._documents, name)

        async def again(*arguments: Any) -> Any:
            self._left -= name == self._operation
            if name == self._operation and self._left == -1:
                await call(*arguments)
            return await call(*arguments)

        return again


async def test_a_record_whose_making_seemed_lost_is_its_requests_own(documents: Any) -> None:
    assert await send(Resending(documents, "create"), work := Work()) == ANSWER
    assert await send(documents, work, "cand_2") == ANSWER
    assert work.ids == ["cand_1"]


async def test_a_taking_over_that_seemed_lost_is_its_requests_own(documents: Any) -> None:
    await crash(documents, work := Work())
    await asyncio.sleep(11)
    assert await send(Resending(documents, "replace"), work, "cand_2") == ANSWER
    assert work.ids == ["cand_1", "cand_1"]


@pytest.mark.parametrize("seconds", [0, 5])  # the closing, or a renewal
async def test_an_answer_is_given_and_kept_when_a_change_of_the_record_seemed_lost(
    documents: Any, seconds: float
) -> None:
    assert await send(Resending(documents, "replace"), work := Work(seconds=seconds)) == ANSWER
    assert await send(documents, work, "cand_2") == ANSWER
    assert work.ids == ["cand_1"]


@pytest.mark.parametrize("kind", [Kind.CONFLICT, Kind.UNAVAILABLE])
async def test_a_release_that_seemed_lost_is_one(documents: Any, kind: Kind) -> None:
    assert (await refused(send(Resending(documents, "replace"), Work(error(kind))))).kind is kind
    assert await send(documents, Work(), "cand_2") == ANSWER


# --- refusals ---


CERTAIN = [
    Kind.INVALID, Kind.UNPROCESSABLE, Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.CONFLICT, Kind.PRECONDITION_FAILED,
    Kind.TOO_LARGE,
]  # fmt: skip
UNCERTAIN = [Kind.UNAVAILABLE, Kind.THROTTLED, Kind.BROKEN]


@pytest.mark.parametrize("kind", CERTAIN)
async def test_a_refusal_frees_the_key(documents: Any, kind: Kind) -> None:
    work = Work(error(kind))
    assert (await refused(send(documents, work))).kind is kind
    assert await send(documents, work, "cand_2", payload=b"corrected") == ANSWER
    assert work.ids == ["cand_1", "cand_2"]


@pytest.mark.parametrize("kind", UNCERTAIN)
async def test_when_the_outcome_is_not_known_the_retry_carries_on_with_the_same_id(documents: Any, kind: Kind) -> None:
    """The account may have written all the same: a new id would make a second object."""
    work = Work(error(kind))
    assert (await refused(send(documents, work))).kind is kind
    assert (await refused(send(documents, work, "cand_2", payload=b"other"))).code == "idempotency_key_reused"
    assert await send(documents, work, "cand_3") == ANSWER
    assert work.ids == ["cand_1", "cand_1"]
    assert await send(documents, work, "cand_4") == ANSWER


@pytest.mark.parametrize("kind", [Kind.UNAVAILABLE, Kind.NOT_FOUND])
async def test_the_first_error_is_told_even_when_the_key_cannot_be_freed(documents: Any, kind: Kind) -> None:
    documents.failures = [None, error(Kind.THROTTLED)]
    assert (await refused(send(documents, Work(error(kind))))).kind is kind
    assert (await refused(send(documents, Work(), "cand_2"))).code == "request_in_progress"
    await asyncio.sleep(10)
    assert await send(documents, Work(), "cand_2") == ANSWER


async def test_an_unexpected_error_leaves_the_record_to_be_taken_over(documents: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        await send(documents, Work(ZeroDivisionError()))
    assert (await refused(send(documents, Work(), "cand_2"))).code == "request_in_progress"
    await asyncio.sleep(10)
    assert await send(documents, Work(), "cand_2") == ANSWER


async def test_a_record_that_ends_this_very_moment_is_in_progress(documents: Any) -> None:
    work = Work()
    await send(documents, work)
    read = documents.read

    async def gone(*arguments: Any) -> None:
        await read(*arguments)

    documents.read = gone
    assert (await refused(send(documents, work, "cand_2"))).code == "request_in_progress"


async def test_neither_key_nor_body_are_stored(documents: Any) -> None:
    await send(documents, Work(), key="secret-key", payload=b"secret-body")
    assert "secret" not in str(documents.all("idempotency"))


async def test_a_claimed_key_stands_for_what_claimed_it_first(documents: Any) -> None:
    async def claimed(key: str, object_id: str, payload: bytes = b"a") -> str:
        return await claim(documents, "orders", key, payload, object_id)

    assert [await claimed("1", "rep_1"), await claimed("1", "rep_2"), await claimed("2", "rep_3")] == [
        "rep_1", "rep_1", "rep_3",
    ]  # fmt: skip
    assert (await refused(claimed("1", "rep_1", b"b"))).code == "idempotency_key_reused"
    assert all(one["ttl"] == -1 for one in documents.all("idempotency"))


async def test_a_claim_whose_answer_is_lost_is_made_again_with_the_same_id(documents: Any) -> None:
    documents.failures_after = [error(Kind.UNAVAILABLE)]
    await refused(claim(documents, "orders", "1", b"a", "rep_1"))
    assert await claim(documents, "orders", "1", b"a", "rep_1") == "rep_1"
