"""What is put on the queues, with a sender in place of Service Bus."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from azure.servicebus.exceptions import ServiceBusConnectionError

from shared.adapters.service_bus import CheckRequests, Queues, Screenings, connect
from shared.core.context import REQUEST_ID
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import RequestId
from shared.screening.models import ScreeningJob
from tests.fakes import CONTOSO_HR, ManualClock


class Sender:
    def __init__(self, bus: Any, queue: Any) -> None:
        self._bus = bus
        self._queue = queue
        self._busy = False

    async def send_messages(self, messages: Any) -> None:
        assert not self._busy, "a sender's link is not made for concurrent use"
        self._busy = True
        await (asyncio.Event().wait() if self._bus.silent else asyncio.sleep(0))
        self._busy = False
        if self._bus.errors:
            raise self._bus.errors.pop(0)
        self._bus.sent += [(self._queue, message) for message in messages]

    async def close(self) -> None:
        self._bus.closed_senders += 1


class Bus:
    def __init__(self) -> None:
        self.sent = []
        self.errors = []
        self.silent = False
        self.opened = []
        self.closed_senders = 0

    def get_queue_sender(self, queue: Any) -> Any:
        self.opened.append(queue)
        return Sender(self, queue)


@pytest.fixture
def bus() -> Any:
    return Bus()


@pytest.fixture
def clock() -> Any:
    return ManualClock()


@pytest.fixture
def queues(bus: Any, clock: ManualClock) -> Any:
    return Queues(bus, clock)


def job(number: Any = 1, report: Any = "rep_1") -> Any:
    return ScreeningJob(tenant_id=CONTOSO_HR.tenant_id, report_id=report, screening_id=f"scr_{number}", accepted_at="t")


def body(message: Any) -> Any:
    return b"".join(message.body)


async def test_jobs_of_a_report_go_together_and_appear_later(queues: Any, bus: Any, clock: ManualClock) -> None:
    token = REQUEST_ID.set(RequestId("req_1"))
    try:
        await Screenings(queues).enqueue([job(1), job(2)], 1.5)
    finally:
        REQUEST_ID.reset(token)
    assert [queue for queue, _ in bus.sent] == ["screenings", "screenings"]
    for number, (_, message) in enumerate(bus.sent, 1):
        assert json.loads(body(message)) == {
            "tenant_id": CONTOSO_HR.tenant_id, "report_id": "rep_1", "screening_id": f"scr_{number}",
            "accepted_at": "t", "attempt": 1,
        }  # fmt: skip
        assert message.scheduled_enqueue_time_utc == clock.now() + timedelta(seconds=1.5)
        assert message.message_id == f"scr_{number}-1"
        assert (message.content_type, message.correlation_id) == ("application/json", "req_1")


async def test_a_tenant_is_spread_over_a_few_sessions(queues: Any, bus: Any) -> None:
    await Screenings(queues).enqueue([job(1, f"rep_{number}") for number in range(200)], 0)
    sessions = {message.session_id for _, message in bus.sent}
    assert sessions == {f"{CONTOSO_HR.tenant_id}-{number}" for number in range(4)}
    assert all(len(session) <= 128 for session in sessions)
    bus.sent.clear()
    await Screenings(queues).enqueue([job(1), job(2)], 0)
    assert len({message.session_id for _, message in bus.sent}) == 1


async def test_an_order_is_moved_or_comes_again_as_it_was(queues: Any, bus: Any, clock: ManualClock) -> None:
    requests = CheckRequests(queues)
    await requests.reject(b"a.b.c", "expired")
    await requests.retry(b"a.b.c", 3, 8)
    (rejected_to, rejected), (retried_to, retried) = bus.sent
    assert (rejected_to, body(rejected), rejected.application_properties) == (
        "check-requests-rejected", b"a.b.c", {"reason": "expired"},
    )  # fmt: skip
    assert rejected.scheduled_enqueue_time_utc is None
    assert (retried_to, body(retried), retried.application_properties) == ("check-requests", b"a.b.c", {"attempt": 3})
    assert retried.scheduled_enqueue_time_utc == clock.now() + timedelta(seconds=8)


async def test_a_sender_stays_open_and_is_used_by_one_at_a_time(queues: Any, bus: Any) -> None:
    await asyncio.gather(*(Screenings(queues).enqueue([job(number)], 0) for number in range(20)))
    assert len(bus.sent) == 20
    assert bus.opened == ["screenings"]


@pytest.mark.parametrize("error", [ServiceBusConnectionError(message="lost"), OSError("lost"), ValueError("too large")])
async def test_a_sender_that_fails_is_replaced(queues: Any, bus: Any, error: Any) -> None:
    bus.errors = [error]
    with pytest.raises(BulkheadError) as caught:
        await Screenings(queues).enqueue([job()], 0)
    assert (caught.value.kind, caught.value.code, caught.value.retry_after) == (
        Kind.UNAVAILABLE,
        "queue_unavailable",
        5,
    )
    await Screenings(queues).enqueue([job()], 0)
    assert bus.opened == ["screenings", "screenings"]
    assert bus.closed_senders == 1
    assert len(bus.sent) == 1


async def test_a_namespace_that_does_not_answer_keeps_nobody_waiting(bus: Any, clock: ManualClock) -> None:
    """Neither those who come after the first: Functions would end the process, with everybody else's work in it."""
    queues = Queues(bus, clock, within=0.01)
    bus.silent = True
    waiting = (Screenings(queues).enqueue([job(number)], 0) for number in range(3))
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, BulkheadError)
        assert (error.kind, error.code) == (Kind.UNAVAILABLE, "queue_unavailable")
    bus.silent = False
    await Screenings(Queues(bus, clock)).enqueue([job()], 0)
    assert len(bus.sent) == 1
    assert bus.closed_senders >= 1


def test_without_a_name_there_is_no_connection() -> None:
    with pytest.raises(ValueError, match="neither"):
        connect(None, None, object())
