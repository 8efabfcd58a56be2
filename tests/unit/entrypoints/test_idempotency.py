import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shared.core.errors import BulkheadError, Kind
from shared.entrypoints.idempotency import Answer, claim, once
from tests.fakes import START, tenant_documents

NOW = START
ANSWER = Answer(status=201, body='{"id":"cand_1"}', headers={"Location": "/api/candidates/cand_1"})


@pytest.fixture
def documents() -> Any:
    return tenant_documents()


class Work:
    """Notes the ids that it was given; raises its errors first."""

    def __init__(self, *errors: Any) -> None:
        self.errors = list(errors)
        self.ids = []
        self.started = asyncio.Event()

    async def __call__(self, object_id: Any) -> Any:
        self.ids.append(object_id)
        self.started.set()
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return ANSWER


async def send(
    documents: Any,
    work: Any,
    *,
    key: Any = "key-1",
    payload: Any = b"{}",
    object_id: Any = "cand_1",
    scope: Any = "POST candidates",
    now: Any = NOW,
) -> Any:
    return await once(documents, scope, key, payload, object_id, now, work)


def error(kind: Kind) -> Any:
    return BulkheadError(kind, "code", "Detail.")


async def refused(awaitable: Any) -> Any:
    with pytest.raises(BulkheadError) as caught:
        await awaitable
    return caught.value


async def test_the_first_answer_is_given_again(documents: Any) -> None:
    work = Work()
    assert await send(documents, work) == ANSWER
    assert await send(documents, work, object_id="cand_2", now=NOW + timedelta(hours=23)) == ANSWER
    assert work.ids == ["cand_1"]


async def test_another_body_is_refused(documents: Any) -> None:
    work = Work()
    await send(documents, work)
    caught = await refused(send(documents, work, payload=b'{"a":1}'))
    assert (caught.kind, caught.code) == (Kind.UNPROCESSABLE, "idempotency_key_reused")
    assert work.ids == ["cand_1"]


async def test_another_key_or_route_is_another_request(documents: Any) -> None:
    work = Work()
    await send(documents, work)
    await send(documents, work, key="key-2", object_id="cand_2")
    await send(documents, work, scope="POST reports", object_id="rep_1")
    assert work.ids == ["cand_1", "cand_2", "rep_1"]


async def test_while_the_first_runs_the_second_is_told_so(documents: Any) -> None:
    work = Work()
    first, second = await asyncio.gather(
        send(documents, work), refused(send(documents, work, object_id="cand_2")), return_exceptions=True
    )
    assert first == ANSWER
    assert (second.kind, second.code, second.retry_after) == (Kind.CONFLICT, "request_in_progress", 1)
    assert work.ids == ["cand_1"]


async def crash(documents: Any, work: Any) -> None:
    """A first request whose process ends in the middle."""
    task = asyncio.create_task(send(documents, work))
    await work.started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("seconds", "taken_over"), [(0, False), (239.9, False), (240, True), (86_000, True)])
async def test_after_a_crash_a_retry_takes_over_with_the_same_id(documents: Any, seconds: Any, taken_over: Any) -> None:
    work = Work()
    await crash(documents, work)
    retry = send(documents, work, object_id="cand_2", now=NOW + timedelta(seconds=seconds))
    if taken_over:
        assert await retry == ANSWER
        assert work.ids == ["cand_1", "cand_1"]
    else:
        assert (await refused(retry)).code == "request_in_progress"


async def test_of_two_that_take_over_one_works(documents: Any) -> None:
    work = Work()
    await crash(documents, work)
    later = NOW + timedelta(seconds=300)
    results = await asyncio.gather(*(send(documents, work, now=later) for _ in range(2)), return_exceptions=True)
    assert results.count(ANSWER) == 1
    assert [one.code for one in results if one != ANSWER] == ["request_in_progress"]
    assert work.ids == ["cand_1", "cand_1"]  # the crash, and one retry


async def test_a_first_request_that_wakes_up_late_does_not_overwrite_its_successor(documents: Any) -> None:
    begun, slow = asyncio.Event(), asyncio.Event()

    async def work(object_id: Any) -> Any:
        begun.set()
        await slow.wait()
        return Answer(status=201, body=f'"late {object_id}"')

    first = asyncio.create_task(send(documents, work))
    await begun.wait()
    assert await send(documents, Work(), now=NOW + timedelta(seconds=300)) == ANSWER
    slow.set()
    assert (await refused(first)).code == "request_in_progress"
    assert await send(documents, Work(), now=NOW + timedelta(seconds=301)) == ANSWER


CERTAIN = [
    Kind.INVALID, Kind.UNPROCESSABLE, Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.CONFLICT, Kind.PRECONDITION_FAILED,
    Kind.TOO_LARGE,
]  # fmt: skip
UNCERTAIN = [Kind.UNAVAILABLE, Kind.THROTTLED, Kind.BROKEN]


@pytest.mark.parametrize("kind", CERTAIN)
async def test_a_refusal_frees_the_key(documents: Any, kind: Kind) -> None:
    work = Work(error(kind))
    assert (await refused(send(documents, work))).kind is kind
    assert documents.all("idempotency") == []
    assert await send(documents, work, payload=b"corrected", object_id="cand_2") == ANSWER
    assert work.ids == ["cand_1", "cand_2"]


@pytest.mark.parametrize("kind", UNCERTAIN)
async def test_when_the_outcome_is_not_known_the_retry_carries_on_with_the_same_id(documents: Any, kind: Kind) -> None:
    """The account may have written all the same: a new id would make a second object."""
    work = Work(error(kind))
    assert (await refused(send(documents, work))).kind is kind
    assert (await refused(send(documents, work, payload=b"other"))).code == "idempotency_key_reused"
    assert await send(documents, work, object_id="cand_2") == ANSWER
    assert work.ids == ["cand_1", "cand_1"]
    assert await send(documents, work) == ANSWER


@pytest.mark.parametrize("kind", [Kind.UNAVAILABLE, Kind.NOT_FOUND])
async def test_the_first_error_is_told_even_when_the_key_cannot_be_freed(documents: Any, kind: Kind) -> None:
    documents.failures = [None, error(Kind.THROTTLED)]
    assert (await refused(send(documents, Work(error(kind))))).kind is kind
    assert (await refused(send(documents, Work()))).code == "request_in_progress"
    assert await send(documents, Work(), now=NOW + timedelta(seconds=240)) == ANSWER


async def test_an_unexpected_error_leaves_the_record_to_be_taken_over(documents: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        await send(documents, Work(ZeroDivisionError()))
    assert (await refused(send(documents, Work()))).code == "request_in_progress"
    assert await send(documents, Work(), now=NOW + timedelta(seconds=240)) == ANSWER


async def test_a_record_that_ends_this_very_moment_is_in_progress(documents: Any) -> None:
    work = Work()
    await send(documents, work)
    read = documents.read

    async def gone(*arguments: Any) -> None:
        await read(*arguments)

    documents.read = gone
    assert (await refused(send(documents, work))).code == "request_in_progress"


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
