"""Messages that wait for a person: read without taking them, sent again before they are taken away."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Self

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusConnectionError

from shared.adapters.waiting_messages import PLACES, WaitingMessages
from shared.core.errors import BulkheadError, Kind


class Waiting:
    """What the SDK gives of a message: names and texts of application properties as bytes."""

    def __init__(self, number: int, **properties: Any) -> None:
        self.sequence_number = number
        self.enqueued_time_utc = datetime(2026, 11, 24, 8, 0, number % 60, tzinfo=UTC)
        self.application_properties = {name.encode(): value for name, value in properties.items()} or None
        self.dead_letter_reason = None if properties else "MaxDeliveryCountExceeded"
        self.delivery_count = 1
        self.correlation_id = f"req_{number}"
        self.content_type = "application/jose"
        self.session_id = "ten_1-2"
        self.body = iter([b"body ", str(number).encode()])


class FakeServiceBus:
    """One place with messages, and what is done there in order."""

    def __init__(self, messages: Sequence[Waiting]) -> None:
        self.messages = list(messages)
        self.opened: list[tuple[str, Any]] = []
        self.done: list[tuple[str, Any]] = []
        self.failure: Exception | None = None
        self.locks_end = False

    def get_queue_receiver(self, queue: str, sub_queue: Any = None) -> Self:
        self.opened.append((queue, sub_queue))
        return self

    def get_queue_sender(self, queue: str) -> Self:
        self.opened.append((queue, "sender"))
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stays open."""

    async def peek_messages(self, most: int, sequence_number: int) -> list[Waiting]:
        if self.failure:
            raise self.failure
        return [one for one in self.messages if one.sequence_number >= sequence_number][:most]

    async def receive_messages(self, most: int, max_wait_time: float) -> list[Waiting]:
        assert max_wait_time > 0
        taken, self.messages = self.messages[:most], self.messages[most:]
        if self.locks_end:
            self.messages += taken
        return taken

    async def send_messages(self, message: ServiceBusMessage) -> None:
        self.done.append(("sent", message))

    async def complete_message(self, message: Waiting) -> None:
        self.done.append(("completed", message.sequence_number))

    async def abandon_message(self, message: Waiting) -> None:
        if self.locks_end:
            raise MessageLockLostError(message="too late")
        self.done.append(("abandoned", message.sequence_number))


def test_places_and_where_their_messages_go_back_to() -> None:
    assert PLACES == {
        "check-requests-rejected": "check-requests", "check-requests": "check-requests", "screenings": "screenings",
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 100, 250])
async def test_everything_is_listed_page_by_page(count: int) -> None:
    bus = FakeServiceBus([Waiting(number, reason=b"expired") for number in range(1, count + 1)])
    found = await WaitingMessages(bus).all("check-requests-rejected")
    assert [one.number for one in found] == list(range(1, count + 1))
    assert bus.opened == [("check-requests-rejected", None)]
    assert len(bus.messages) == count


async def test_a_message_tells_why_it_waits() -> None:
    bus = FakeServiceBus([Waiting(7, reason=b"expired"), Waiting(8)])
    rejected, dead = await WaitingMessages(bus).all("screenings")
    assert (rejected.reason, dead.reason) == ("expired", "MaxDeliveryCountExceeded")
    assert (dead.enqueued_at, dead.deliveries, dead.correlation_id, dead.body) == (
        "2026-11-24T08:00:08.000Z", 1, "req_8", "body 8",
    )  # fmt: skip
    assert bus.opened == [("screenings", ServiceBusSubQueue.DEAD_LETTER)]


async def test_only_what_was_asked_for_is_sent_and_before_it_is_taken_away() -> None:
    bus = FakeServiceBus([Waiting(number, reason=b"x", attempt=3, other=b"kept") for number in range(1, 6)])
    sent = await WaitingMessages(bus).send_again("check-requests-rejected", [2, 4, 9])
    assert sent == {2, 4}
    assert bus.opened == [("check-requests-rejected", None), ("check-requests", "sender")]
    assert [(what, one if isinstance(one, int) else "") for what, one in bus.done] == [
        ("sent", ""), ("completed", 2), ("sent", ""), ("completed", 4),
        ("abandoned", 1), ("abandoned", 3), ("abandoned", 5),
    ]  # fmt: skip
    again = bus.done[0][1]
    assert b"".join(again.body) == b"body 2"
    assert (again.content_type, again.session_id, again.correlation_id) == ("application/jose", "ten_1-2", "req_2")
    assert again.application_properties == {"other": "kept"}  # it starts afresh


async def test_it_stops_at_the_last_that_was_asked_for() -> None:
    bus = FakeServiceBus([Waiting(number) for number in range(1, 251)])
    assert await WaitingMessages(bus).send_again("screenings", [3]) == {3}
    assert len(bus.messages) == 150


async def test_it_ends_when_locks_end_before_it_does() -> None:
    bus = FakeServiceBus([Waiting(number) for number in range(1, 251)])
    bus.locks_end = True
    assert await WaitingMessages(bus).send_again("screenings", [3, 999]) == {3}


async def test_a_lost_connection_is_told_as_such() -> None:
    bus = FakeServiceBus([])
    bus.failure = ServiceBusConnectionError(message="SharedAccessKey=canary")
    with pytest.raises(BulkheadError) as caught:
        await WaitingMessages(bus).all("screenings")
    assert caught.value.kind is Kind.UNAVAILABLE
    assert "canary" not in str(caught.value)
