"""Service Bus with the official SDK.

The tests run side by side, each on a namespace of its own, because the SDK mostly sleeps: half a second to open a link
and up to one to close it. They run on the stand-in, or on Azure when CONFORMANCE_SERVICE_BUS holds the connection
string of a namespace with Manage rights; each test makes its own queues. Tests marked `standin` need faults, the
journal, a restart or a connection that is cut.

Sources named below: [doc:x] is learn.microsoft.com/azure/service-bus-messaging/x, [sdk:x] the SDK's module x,
[amqp:x] a chapter of the AMQP 1.0 specification.
"""

import asyncio
import gc
import json
import os
import random
import struct
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage, ServiceBusReceiveMode, ServiceBusSubQueue
from azure.servicebus import ServiceBusClient as BlockingClient
from azure.servicebus._common.constants import ServiceBusMessageState
from azure.servicebus.aio import AutoLockRenewer, ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.aio.management import ServiceBusAdministrationClient
from azure.servicebus.amqp import AmqpAnnotatedMessage
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusConnectionError,
    ServiceBusError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)
from proton import uint, ushort

from infra.local.standin.service_bus import ServiceBus, messages
from infra.local.standin.storage import Storage
from infra.local.standin.wire import FaultRule, World

AZURE = os.environ.get("CONFORMANCE_SERVICE_BUS")
LOCK = 5  # seconds: the shortest lock that Azure allows
PATIENCE = 10  # seconds to wait for what should come at once
AT_ONCE = 8  # tests side by side
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # the SDK forgets sockets that the service closed
]


class Bus:
    """A namespace, the queues made in it, and the senders and receivers opened on it."""

    def __init__(self) -> None:
        self._shift = 0.0
        self._opened: list[ServiceBusSender | ServiceBusReceiver] = []
        self._queues: list[str] = []
        if AZURE is None:
            self.world = World(Storage(), now=lambda: time.time() + self._shift)
            self.service = ServiceBus(self.world)

    async def start(self) -> None:
        if AZURE is None:
            await self.service.start()
        self.connection_string = AZURE or self.service.connection_string
        self.client = self.new_client()

    def new_client(self, connection_string: str = "", **options: Any) -> ServiceBusClient:
        # retries would only make refusals slow; the timeout is how long the SDK waits for a frame when it closes
        options = {"retry_total": 0, "socket_timeout": 0.2 if AZURE else 0.03, **options}
        return ServiceBusClient.from_connection_string(connection_string or self.connection_string, **options)

    async def queue(self, **settings: Any) -> str:
        name = f"conformance-{uuid.uuid4().hex[:12]}"
        if AZURE is None:
            self.service.create_queue(name, **{"lock_duration": LOCK, **settings})
            return name
        seconds = {
            "lock_duration": settings.get("lock_duration", LOCK),
            "default_message_time_to_live": settings.get("default_ttl"),
        }
        async with ServiceBusAdministrationClient.from_connection_string(AZURE) as management:
            await management.create_queue(
                name,
                requires_session=settings.get("requires_session", False),
                max_delivery_count=settings.get("max_delivery_count", 10),
                dead_lettering_on_message_expiration=settings.get("dead_letter_on_expiry", False),
                **{key: timedelta(seconds=value) for key, value in seconds.items() if value is not None},
            )
        self._queues.append(name)
        return name

    async def opened[Handler: ServiceBusSender | ServiceBusReceiver](self, handler: Handler) -> Handler:
        self._opened.append(handler)
        await handler.__aenter__()
        return handler

    async def ends(self, queue: str, **receiver: Any) -> tuple[ServiceBusSender, ServiceBusReceiver]:
        """A sender and a receiver, opened at the same time because the SDK takes half a second for each."""
        sender, receiver_ = await asyncio.gather(
            self.opened(self.client.get_queue_sender(queue)), self.receiver(queue, **receiver)
        )
        return sender, receiver_

    async def receiver(self, queue: str, **options: Any) -> ServiceBusReceiver:
        return await self.opened(self.client.get_queue_receiver(queue, **options))

    async def dead_letters(self, queue: str) -> ServiceBusReceiver:
        return await self.receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)

    async def pass_time(self, seconds: float) -> None:
        if AZURE is None:
            self._shift += seconds
        else:
            await asyncio.sleep(seconds)

    async def close_handlers(self) -> None:
        opened, self._opened = self._opened, []
        await asyncio.gather(*(handler.close() for handler in opened))

    async def stop(self) -> None:
        await self.close_handlers()
        await self.client.close()
        if AZURE is None:
            await self.service.stop()
            self.world.storage.close()
            return
        async with ServiceBusAdministrationClient.from_connection_string(AZURE) as management:
            for name in self._queues:
                await management.delete_queue(name)

    def operations(self, *names: str) -> list[tuple[str, int]]:
        entries, _ = self.world.journal.since(0)
        return [(entry.operation, entry.status) for entry in entries if not names or entry.operation in names]


type Scenario = Callable[[Bus], Coroutine[Any, Any, None]]
_SCENARIOS: dict[str, Scenario] = {}


def scenario(test: Scenario) -> Callable[..., Coroutine[Any, Any, None]]:
    """Make `test` one of those that run side by side."""

    async def outcome(runs: dict[str, asyncio.Task[Bus]], request: pytest.FixtureRequest) -> None:
        if request.node.name not in runs:
            pytest.skip("needs what only the stand-in offers")
        bus = await runs[request.node.name]
        if AZURE is None and (marker := request.node.get_closest_marker("plays")):
            assert {*marker.args[1].split()} <= {operation for operation, _ in bus.operations()}

    _SCENARIOS[test.__name__] = test
    return outcome


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, asyncio.Task[Bus]]]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def run(test: Scenario) -> Bus:
        async with slots:
            bus = Bus()
            await bus.start()
            try:
                await test(bus)
            finally:
                await bus.stop()
            return bus

    chosen = [item for item in request.session.items if item.path == request.path]
    runs = {
        item.name: asyncio.create_task(run(_SCENARIOS[item.name]))
        for item in chosen
        if AZURE is None or item.get_closest_marker("standin") is None
    }
    yield runs
    await asyncio.gather(*runs.values(), return_exceptions=True)
    gc.collect()  # while those sockets are still excused


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what the SDK does has no event
            await asyncio.sleep(0.01)


async def bodies(receiver: ServiceBusReceiver, count: int, wait: float = PATIENCE) -> list[str]:
    """The bodies of up to `count` messages, each completed."""
    found = []
    while len(found) < count and (batch := await receiver.receive_messages(count - len(found), wait)):
        for message in batch:
            found.append(str(message))
            await receiver.complete_message(message)
    return found


async def one(receiver: ServiceBusReceiver) -> Any:
    [message] = await receiver.receive_messages(1, PATIENCE)
    return message


# ---- sending and receiving


@pytest.mark.plays("service_bus", "complete open_management open_receiver open_sender peek put_token receive send")
@scenario
async def test_a_message_arrives_as_it_was_sent_with_the_brokers_annotations(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    before = datetime.now(UTC) - timedelta(seconds=5)
    await sender.send_messages(
        ServiceBusMessage(
            b"\x00body",
            message_id="m-1",
            correlation_id="c-1",
            subject="s",
            content_type="application/json",
            reply_to="r",
            to="t",
            time_to_live=timedelta(hours=1),
            application_properties={"text": "ä", "number": 7, "flag": True, "nothing": None},
        )
    )
    message = await one(receiver)
    assert b"".join(message.body) == b"\x00body"
    assert (message.message_id, message.correlation_id, message.subject) == ("m-1", "c-1", "s")
    assert (message.content_type, message.reply_to, message.to) == ("application/json", "r", "t")
    assert message.application_properties == {b"text": "ä".encode(), b"number": 7, b"flag": True, b"nothing": None}
    assert message.time_to_live == timedelta(hours=1)
    # [doc:message-sequencing], [doc:service-bus-amqp-protocol-guide] "annotations"
    assert message.sequence_number >= 1
    assert before < message.enqueued_time_utc < datetime.now(UTC) + timedelta(seconds=5)
    assert message.expires_at_utc == message.enqueued_time_utc + timedelta(hours=1)
    assert message.state == ServiceBusMessageState.ACTIVE
    # the wire's count starts at 0 ([amqp:3.2.1] "number of prior unsuccessful delivery attempts")
    assert message.delivery_count == 0
    lock = message.locked_until_utc - datetime.now(UTC)
    assert timedelta(0) < lock <= timedelta(seconds=LOCK + 1)
    await receiver.complete_message(message)
    assert await receiver.peek_messages(10) == []


@pytest.mark.plays("service_bus", "complete receive send")
@scenario
async def test_a_batch_is_separate_messages_and_several_data_sections_are_one(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    await sender.send_messages([ServiceBusMessage(f"m{i}", message_id=f"{i}") for i in range(3)])
    await sender.send_messages(AmqpAnnotatedMessage(data_body=[b"part-1,", b"part-2"]))
    # [doc:service-bus-amqp-protocol-guide]: batches have message format 0x80013700
    assert await bodies(receiver, 4) == ["m0", "m1", "m2", "part-1,part-2"]


@pytest.mark.plays("service_bus", "complete receive send")
@scenario
async def test_a_message_above_256_kb_is_refused_and_the_sender_goes_on(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    # [doc:service-bus-quotas] Standard tier; [sdk:_pyamqp_transport] amqp:link:message-size-exceeded
    with pytest.raises(MessageSizeExceededError):
        await sender.send_messages(ServiceBusMessage(b"x" * (256 * 1024)))
    large = ServiceBusMessage(b"y" * (255 * 1024))  # many frames
    await sender.send_messages(large)
    assert await bodies(receiver, 2) == ["y" * (255 * 1024)]


@pytest.mark.plays("service_bus", "complete peek receive send")
@scenario
async def test_peek_neither_locks_nor_removes_and_starts_anywhere(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    await sender.send_messages([ServiceBusMessage(f"m{i}") for i in range(4)])
    locked = await one(receiver)
    # [doc:message-browsing]: messages of any state, from a sequence number on
    peeked = await receiver.peek_messages(10, sequence_number=1)
    assert [str(m) for m in peeked] == ["m0", "m1", "m2", "m3"]
    again = await receiver.peek_messages(2, sequence_number=peeked[1].sequence_number)
    assert [str(m) for m in again] == ["m1", "m2"]
    await receiver.complete_message(locked)
    assert await bodies(receiver, 3) == ["m1", "m2", "m3"]


@pytest.mark.plays("service_bus", "complete receive send")
@scenario
async def test_many_receivers_share_a_queue_and_none_gets_the_same(bus: Bus) -> None:
    # [doc:message-transfers-locks-settlement]: a locked message is hidden from all other receivers
    queue = await bus.queue(lock_duration=60)
    sender, *receivers = await asyncio.gather(
        bus.opened(bus.client.get_queue_sender(queue)), *(bus.receiver(queue) for _ in range(8))
    )
    assert isinstance(sender, ServiceBusSender)
    for start in range(0, 200, 50):
        await sender.send_messages([ServiceBusMessage(f"{start + i}") for i in range(50)])
    taken = await asyncio.gather(*(bodies(receiver, 25) for receiver in receivers if receiver is not sender))
    assert sorted(int(body) for part in taken for body in part) == list(range(200))


# ---- locks and settlement


@pytest.mark.plays("service_bus", "abandon complete receive send")
@scenario
async def test_an_abandoned_message_comes_again_before_later_ones(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    await sender.send_messages([ServiceBusMessage("first"), ServiceBusMessage("second")])
    await receiver.abandon_message(await one(receiver))
    # [doc:message-transfers-locks-settlement]: "placed at or near the front of the retrieval order"
    again = await one(receiver)
    assert (str(again), again.delivery_count) == ("first", 1)
    await receiver.complete_message(again)
    assert await bodies(receiver, 1) == ["second"]


@pytest.mark.plays("service_bus", "abandon peek receive send")
@scenario
async def test_the_last_permitted_delivery_leads_to_the_dead_letter_queue(bus: Bus) -> None:
    queue = await bus.queue(max_delivery_count=2)
    sender, receiver = await bus.ends(queue)
    await sender.send_messages(ServiceBusMessage("poison", application_properties={"kept": "yes"}))
    for _ in range(2):
        await receiver.abandon_message(await one(receiver))
    dead = await one(await bus.dead_letters(queue))
    # [doc:service-bus-dead-letter-queues] "Maximum delivery count"
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert dead.dead_letter_error_description == "Message could not be consumed after 2 delivery attempts."
    assert dead.application_properties[b"kept"] == b"yes"
    assert await receiver.peek_messages(1) == []


@pytest.mark.plays("service_bus", "abandon complete dead_letter peek receive send")
@scenario
async def test_a_receiver_dead_letters_with_reason_and_description(bus: Bus) -> None:
    queue = await bus.queue()
    sender, receiver = await bus.ends(queue)
    await sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    await receiver.dead_letter_message(await one(receiver), reason="Rejected", error_description="not signed")
    await receiver.dead_letter_message(await one(receiver))
    graves = await bus.dead_letters(queue)
    first, second = await one(graves), await one(graves)
    # [doc:service-bus-dead-letter-queues] "Application-level dead-lettering"
    assert (first.dead_letter_reason, first.dead_letter_error_description) == ("Rejected", "not signed")
    assert second.dead_letter_reason is None
    await graves.complete_message(first)
    await graves.abandon_message(second)
    assert [str(m) for m in await graves.peek_messages(9, sequence_number=1)] == ["b"]


@pytest.mark.plays("service_bus", "complete receive renew_lock send")
@scenario
async def test_an_expired_lock_frees_the_message_and_settles_nothing_more(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    await sender.send_messages(ServiceBusMessage("m"))
    late = await one(receiver)
    await bus.pass_time(LOCK + 1)
    again = await one(receiver)
    # [doc:message-transfers-locks-settlement]: expiry counts as a delivery and the settlement is refused
    assert (str(again), again.delivery_count) == ("m", 1)
    with pytest.raises(MessageLockLostError):
        await receiver.complete_message(late)
    with pytest.raises(MessageLockLostError):
        await receiver.renew_message_lock(late)
    await receiver.complete_message(again)


@pytest.mark.plays("service_bus", "complete receive renew_lock send")
@scenario
async def test_a_renewed_lock_lasts_longer(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    await sender.send_messages(ServiceBusMessage("m"))
    message = await one(receiver)
    first_end = message.locked_until_utc
    await bus.pass_time(LOCK - 2)
    # [doc:service-bus-amqp-request-response] "Message Renew Lock"
    assert await receiver.renew_message_lock(message) > first_end
    await bus.pass_time(LOCK - 2)
    assert await receiver.receive_messages(1, 0.1) == []
    await receiver.complete_message(message)


@pytest.mark.plays("service_bus", "complete receive renew_lock send")
@scenario
async def test_the_auto_lock_renewer_keeps_a_lock(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    await sender.send_messages(ServiceBusMessage("m"))
    async with AutoLockRenewer() as renewer:
        message = await one(receiver)
        first_end = message.locked_until_utc
        renewer.register(receiver, message)
        # [sdk:_async_auto_lock_renewer]: looks every second, renews when half of a short lock is left
        await eventually(lambda: message.locked_until_utc > first_end)
        await receiver.complete_message(message)


@pytest.mark.standin
@pytest.mark.not_played(
    "Deferring and deferred messages, receive-and-delete, `schedule-message` (a message's own annotation schedules "
    "it), state of sessions, rules and topics, transactions"
)
@pytest.mark.plays("service_bus", "receive send")
@scenario
async def test_what_is_not_implemented_says_so(bus: Bus) -> None:
    queue = await bus.queue()
    sender, receiver = await bus.ends(queue)
    await sender.send_messages(ServiceBusMessage("m"))
    message = await one(receiver)
    with pytest.raises(ServiceBusError, match="not-implemented"):
        await receiver.defer_message(message)
    with pytest.raises(ServiceBusError, match="not-implemented"):
        await receiver.receive_deferred_messages(1)
    with pytest.raises(ServiceBusError, match="not-implemented"):
        await sender.schedule_messages(ServiceBusMessage("n"), datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(ServiceBusError, match="not-implemented"):
        await bus.receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    assert bus.operations("defer") == [("defer", 501)]


@pytest.mark.plays("service_bus", "receive release send")
@scenario
async def test_a_closing_receiver_gives_back_what_it_has_not_looked_at(bus: Bus) -> None:
    queue = await bus.queue(lock_duration=60)
    sender, first = await bus.ends(queue, prefetch_count=5)
    await sender.send_messages([ServiceBusMessage(f"m{i}") for i in range(3)])
    kept = await one(first)
    await first.close()
    second = await bus.receiver(queue)
    # [sdk:_pyamqp_transport.drain_and_release_messages]: buffered messages are released; [amqp:3.4.4] without counting
    message = await one(second)
    assert (str(message), message.delivery_count) == ("m1", 0)
    assert str(kept) == "m0"  # which stays locked: [doc:message-transfers-locks-settlement]


@pytest.mark.standin
@pytest.mark.plays("service_bus", "complete receive send")
@scenario
async def test_a_cut_connection_leaves_messages_locked_until_their_time(bus: Bus) -> None:
    queue = await bus.queue()
    sender, receiver = await bus.ends(queue)
    await sender.send_messages(ServiceBusMessage("m"))
    await one(receiver)
    for connection in list(bus.service._connections):
        connection.drop()
    other = await bus.receiver(queue)
    # [doc:message-transfers-locks-settlement]: a lock ends by settlement or by its time, not with the link
    assert await other.receive_messages(1, 0.1) == []
    await bus.pass_time(LOCK + 1)
    assert await bodies(other, 1) == ["m"]


# ---- scheduling, expiry, duplicates


@pytest.mark.plays("service_bus", "peek receive schedule")
@scenario
async def test_scheduled_messages_appear_at_their_time(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    at = datetime.now(UTC) + timedelta(seconds=LOCK)
    await sender.send_messages([ServiceBusMessage("m", scheduled_enqueue_time_utc=at)])
    assert await receiver.receive_messages(1, 0.1) == []
    [peeked] = await receiver.peek_messages(5)
    assert peeked.state == ServiceBusMessageState.SCHEDULED
    await bus.pass_time(LOCK + 1)
    # [doc:message-sequencing]: becoming active "includes assigning a new SequenceNumber"
    assert (await one(receiver)).sequence_number > peeked.sequence_number


@pytest.mark.standin  # on Azure a scheduled message may be late by more than the test's patience
@pytest.mark.plays("service_bus", "complete receive schedule")
@scenario
async def test_a_waiting_receiver_gets_a_message_when_its_time_comes(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    at = datetime.now(UTC) + timedelta(seconds=0.3)
    await sender.send_messages(ServiceBusMessage("m", scheduled_enqueue_time_utc=at))
    assert await bodies(receiver, 1) == ["m"]
    assert datetime.now(UTC) >= at


@pytest.mark.plays("service_bus", "complete receive send")
@scenario
async def test_expired_messages_vanish_or_are_dead_lettered(bus: Bus) -> None:
    vanish, bury = await bus.queue(default_ttl=3600), await bus.queue(dead_letter_on_expiry=True)
    ends = await asyncio.gather(bus.ends(vanish), bus.ends(bury))
    for sender, _ in ends:
        old = ServiceBusMessage("old", time_to_live=timedelta(seconds=2))
        await sender.send_messages([old, ServiceBusMessage("new")])
    await bus.pass_time(3)
    # [doc:message-expiration]: the smaller of the message's and the queue's time to live
    for _, receiver in ends:
        assert await bodies(receiver, 2, 0.3) == ["new"]
    dead = await one(await bus.dead_letters(bury))
    assert (str(dead), dead.dead_letter_reason) == ("old", "TTLExpiredException")
    assert await (await bus.dead_letters(vanish)).receive_messages(1, 0.1) == []


# ---- sessions


@pytest.mark.plays(
    "service_bus",
    "abandon accept_session complete peek receive renew_session_lock send",
)
@scenario
async def test_a_session_receiver_gets_its_session_in_order(bus: Bus) -> None:
    queue = await bus.queue(requires_session=True)
    sender, receiver = await bus.ends(queue, session_id="a")
    await sender.send_messages([ServiceBusMessage(f"{s}{i}", session_id=s) for i in range(3) for s in "ab"])
    # [doc:message-sessions]: first in, first out, one receiver
    [first, second] = await receiver.receive_messages(2, PATIENCE)
    assert (str(first), str(second), first.session_id) == ("a0", "a1", "a")
    await receiver.abandon_message(first)
    await receiver.complete_message(second)
    assert await bodies(receiver, 3, 0.3) == ["a0", "a2"]
    end = receiver.session.locked_until_utc
    await bus.pass_time(1)
    assert await receiver.session.renew_lock() > end
    assert [str(m) for m in await receiver.peek_messages(9, sequence_number=1)] == []  # peeks into its session only


@pytest.mark.plays("service_bus", "accept_session complete receive send")
@scenario
async def test_the_next_available_session_is_one_that_nobody_holds(bus: Bus) -> None:
    queue = await bus.queue(requires_session=True)
    sender, first = await bus.ends(queue, session_id="a")
    await sender.send_messages([ServiceBusMessage(s, session_id=s) for s in "ab"])
    second = await bus.receiver(queue, session_id=NEXT_AVAILABLE_SESSION)
    assert second.session.session_id == "b"
    # [doc:service-bus-amqp-protocol-guide]: the attach is held back; [sdk:_pyamqp_transport] com.microsoft:timeout
    with pytest.raises(OperationTimeoutError):
        await bus.receiver(queue, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=0.5)
    waiting = asyncio.create_task(bus.receiver(queue, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=10))
    await sender.send_messages(ServiceBusMessage("c", session_id="c"))
    third = await waiting
    assert (third.session.session_id, await bodies(third, 1)) == ("c", ["c"])
    assert await bodies(first, 1) == ["a"]


@pytest.mark.plays("service_bus", "accept_session receive send")
@scenario
async def test_a_session_belongs_to_one_until_it_closes(bus: Bus) -> None:
    queue = await bus.queue(requires_session=True, max_delivery_count=3, lock_duration=60)
    sender, first = await bus.ends(queue, session_id="a")
    await sender.send_messages(ServiceBusMessage("m", session_id="a"))
    await one(first)
    with pytest.raises(SessionCannotBeLockedError):
        await bus.receiver(queue, session_id="a")
    await first.close()
    # [doc:message-sessions]: the lock is released on close; the table there: closing counts no delivery
    message = await one(await bus.receiver(queue, session_id="a"))
    assert (str(message), message.delivery_count) == ("m", 0)


@pytest.mark.plays("service_bus", "accept_session complete receive send")
@scenario
async def test_an_expired_session_lock_is_lost_with_its_messages(bus: Bus) -> None:
    queue = await bus.queue(requires_session=True)
    sender, first = await bus.ends(queue, session_id="a")
    await sender.send_messages(ServiceBusMessage("m", session_id="a"))
    late = await one(first)
    await bus.pass_time(LOCK + 1)
    second = await bus.receiver(queue, session_id=NEXT_AVAILABLE_SESSION)
    with pytest.raises(SessionLockLostError):
        await first.complete_message(late)
    # [doc:message-sessions], table of delivery counts: an expired session lock counts
    message = await one(second)
    assert (str(message), message.delivery_count) == ("m", 1)


@pytest.mark.standin
@pytest.mark.plays("service_bus", "accept_session complete receive send")
@scenario
async def test_a_cut_connection_frees_its_session(bus: Bus) -> None:
    queue = await bus.queue(requires_session=True, lock_duration=60)
    sender, first = await bus.ends(queue, session_id="a")
    await sender.send_messages(ServiceBusMessage("m", session_id="a"))
    await one(first)
    for connection in list(bus.service._connections):
        connection.drop()
    # [doc:message-transfers-locks-settlement]: links are not recovered, so a session's link ends with its connection
    assert await bodies(await bus.receiver(queue, session_id=NEXT_AVAILABLE_SESSION), 1) == ["m"]


# ---- refusals


@pytest.mark.plays("service_bus", "accept_session send")
@scenario
async def test_a_queue_that_requires_sessions_wants_them_everywhere(bus: Bus) -> None:
    queue, plain = await bus.queue(requires_session=True), await bus.queue()
    sender = await bus.opened(bus.client.get_queue_sender(queue))
    # [doc:message-sessions], [doc:service-bus-amqp-troubleshoot] amqp:not-allowed
    with pytest.raises(ServiceBusError, match="SessionId was not set"):
        await sender.send_messages(ServiceBusMessage("m"))
    with pytest.raises(ServiceBusError, match="not-allowed"):
        await bus.receiver(queue)
    with pytest.raises(ServiceBusError, match="not-allowed"):
        await bus.receiver(plain, session_id="a")


@pytest.mark.plays("service_bus", "open_receiver open_sender")
@scenario
async def test_an_unknown_queue_is_not_found(bus: Bus) -> None:
    # [sdk:_pyamqp_transport] amqp:not-found
    results = await asyncio.gather(
        bus.opened(bus.client.get_queue_sender("no-such-queue")), bus.receiver("no-such-queue"), return_exceptions=True
    )
    assert [type(result) for result in results] == [MessagingEntityNotFoundError] * 2


@pytest.mark.plays("service_bus", "put_token")
@scenario
async def test_a_wrong_key_is_refused(bus: Bus) -> None:
    queue = await bus.queue()
    wrong = bus.connection_string.replace("SharedAccessKey=", "SharedAccessKey=AAAA")
    async with bus.new_client(wrong) as client:
        sender = client.get_queue_sender(queue)
        # [sdk:_pyamqp.cbs]: $cbs answers 401, InvalidSignature
        with pytest.raises(ServiceBusAuthenticationError):
            await sender.__aenter__()
        await sender.close()
    if AZURE is None:
        assert bus.operations("put_token") == [("put_token", 401)]


# ---- what only the stand-in has: faults, journal, restart


@pytest.mark.standin
@pytest.mark.plays("service_bus", "complete receive send")
@scenario
async def test_the_journal_tells_who_did_what(bus: Bus) -> None:
    queue = await bus.queue()
    sender, receiver = await bus.ends(queue)
    await sender.send_messages(ServiceBusMessage("m", correlation_id="request-7"))
    await receiver.complete_message(await one(receiver))
    entries, _ = bus.world.journal.since(0)
    lines = [(e.operation, e.principal, e.target, e.status, e.correlation_id) for e in entries if e.correlation_id]
    who = "sas:RootManageSharedAccessKey"
    assert lines == [(operation, who, queue, 200, "request-7") for operation in ("send", "receive", "complete")]


@pytest.mark.standin
@pytest.mark.plays("service_bus", "complete receive send")
@scenario
async def test_injected_faults_reach_the_sdk_and_are_survived(bus: Bus) -> None:
    queue = await bus.queue()
    sender, receiver = await bus.ends(queue)
    rules = bus.world.weather.rules
    rules.append(FaultRule("service_bus", operation="send", status=503, times=1))
    with pytest.raises(ServiceBusError, match="server-busy"):
        await sender.send_messages(ServiceBusMessage("m"))
    rules.append(FaultRule("service_bus", operation="send", drop="answer", times=1))
    with pytest.raises(ServiceBusConnectionError):
        await sender.send_messages(ServiceBusMessage("m"))
    await sender.send_messages(ServiceBusMessage("n"))  # over a new connection
    assert await bodies(receiver, 2) == ["m", "n"]
    assert bus.operations("send") == [("send", 503), ("send", 0), ("send", 200)]


@pytest.mark.standin
@pytest.mark.plays("service_bus", "complete receive send")
@scenario
async def test_latency_delays_answers(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    bus.world.weather.latency_ms["service_bus"] = 30
    started = time.monotonic()
    await sender.send_messages(ServiceBusMessage("m"))
    await receiver.complete_message(await one(receiver))
    assert time.monotonic() - started >= 0.09  # send, receive, complete


@dataclass
class Ledger:
    """What clients have asked for, and what of it was acknowledged."""

    asked: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    scheduled: set[str] = field(default_factory=set)
    completing: set[str] = field(default_factory=set)
    completed: set[str] = field(default_factory=set)

    async def send(self, sender: ServiceBusSender, into: set[str], at: datetime | None = None) -> None:
        while True:
            body = uuid.uuid4().hex
            self.asked.add(body)
            await sender.send_messages(ServiceBusMessage(body, scheduled_enqueue_time_utc=at))
            into.add(body)

    async def complete(self, receiver: ServiceBusReceiver) -> None:
        while True:
            for message in await receiver.receive_messages(1, PATIENCE):
                self.completing.add(str(message))
                await receiver.complete_message(message)
                self.completed.add(str(message))


@pytest.mark.standin
@scenario
async def test_what_was_acknowledged_survives_a_kill_at_any_moment(bus: Bus) -> None:
    queue, ledger = "check-requests", Ledger()
    an_hour_on = datetime.now(UTC) + timedelta(hours=1)
    with tempfile.TemporaryDirectory() as state:
        for round_ in range(1, 4):
            async with (
                process_of_its_own(Path(state)) as (process, connection_string),
                bus.new_client(connection_string) as client,
            ):
                work = [
                    ledger.send(client.get_queue_sender(queue), ledger.sent),
                    ledger.send(client.get_queue_sender(queue), ledger.scheduled, an_hour_on),
                    ledger.complete(client.get_queue_receiver(queue)),
                ]
                tasks = [asyncio.create_task(one) for one in work]
                least = 10 * round_
                acknowledged = ledger.sent, ledger.scheduled, ledger.completed
                await eventually(lambda: min(map(len, acknowledged)) >= least)  # noqa: B023 - awaited here
                await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311 - any moment will do
                process.kill()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(end, ServiceBusError) for end in ends), ends
        async with (
            process_of_its_own(Path(state)) as (process, connection_string),
            bus.new_client(connection_string) as client,
            client.get_queue_receiver(queue) as receiver,
        ):
            there: dict[str, ServiceBusMessageState] = {}
            next_ = 1
            while found := await receiver.peek_messages(250, sequence_number=next_):
                there |= {str(message): message.state for message in found}
                next_ = found[-1].sequence_number + 1
            process.kill()
    assert ledger.sent - ledger.completing <= there.keys()
    assert not ledger.completed & there.keys()
    assert {there.get(body) for body in ledger.scheduled} == {ServiceBusMessageState.SCHEDULED}
    assert there.keys() <= ledger.asked


@asynccontextmanager
async def process_of_its_own(state: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The whole stand-in over a state directory, and its connection string."""
    ready = state / "standin.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "infra.local.standin", "--state", str(state), "--parent", str(os.getpid())]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await eventually(lambda: ready.exists() or process.returncode is not None)
        yield process, json.loads(ready.read_text())["service_bus_connection_string"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.standin
@pytest.mark.plays("service_bus", "accept_session complete receive send")
@scenario
async def test_a_client_that_gives_up_during_latency_leaves_nothing_behind(bus: Bus) -> None:
    queue = await bus.queue(requires_session=True)
    sender = await bus.opened(bus.client.get_queue_sender(queue))
    await sender.send_messages(ServiceBusMessage("m", session_id="a"))
    rules = bus.world.weather.rules
    rules.append(FaultRule("service_bus", operation="accept_session", delay_ms=1500, times=1))
    impatient = bus.client.get_queue_receiver(queue, session_id="a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):  # enough to ask for the session, not for the answer
            await impatient.__aenter__()
    await eventually(lambda: not rules[0].times)
    await impatient.close()
    assert await bodies(await bus.receiver(queue, session_id="a"), 1) == ["m"]


@pytest.mark.standin
@scenario
async def test_an_idle_connection_is_kept_alive_by_empty_frames(bus: Bus) -> None:
    port = int(bus.connection_string.split(";")[0].rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # [amqp:2.7.1]: an open whose idle-time-out is 200 ms
    body = messages.encode(0x10, ["c", None, uint(512), ushort(0xFFFF), uint(200)])
    writer.write(b"AMQP\x00\x01\x00\x00" + struct.pack(">IBBH", 8 + len(body), 2, 0, 0) + body)
    empty_frame = struct.pack(">IBBH", 8, 2, 0, 0)
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(empty_frame * 2)
    writer.close()
    await writer.wait_closed()


@pytest.mark.standin
@pytest.mark.plays("service_bus", "complete receive send")
@scenario
async def test_nonsense_on_one_connection_disturbs_no_other(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue())
    port = int(bus.connection_string.split(";")[0].rsplit(":", 1)[1])
    for nonsense in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"AMQP\x00\x01\x00\x00\x00\x00\x00\x03abcdefgh",
        b"AMQP\x00\x01\x00\x00" * 3,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(nonsense)
        async with asyncio.timeout(5):
            await reader.read()  # until the service closes
        writer.close()
    await sender.send_messages(ServiceBusMessage("m"))
    assert await bodies(receiver, 1) == ["m"]


@pytest.mark.plays("service_bus", "abandon complete receive renew_lock send")
@scenario
async def test_the_blocking_sdk_works_alike(bus: Bus) -> None:
    # [sdk:_servicebus_client], the twin of aio/_servicebus_client_async
    queue = await bus.queue()

    def round_trip() -> list[str]:
        with BlockingClient.from_connection_string(bus.connection_string) as client:
            with client.get_queue_sender(queue) as sender:
                sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
            with client.get_queue_receiver(queue) as receiver:
                [first] = receiver.receive_messages(1, PATIENCE)
                receiver.renew_message_lock(first)
                receiver.abandon_message(first)
                messages = receiver.receive_messages(2, PATIENCE)
                for message in messages:
                    receiver.complete_message(message)
                return [str(message) for message in messages]

    assert await asyncio.to_thread(round_trip) == ["a", "b"]
