"""Messages: sent, received, peeked, scheduled, expired.

Sources named in this suite: [doc:x] is learn.microsoft.com/azure/service-bus-messaging/x, [sdk:x] the SDK's module x,
[amqp:x] a chapter of the AMQP 1.0 specification.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus._common.constants import ServiceBusMessageState
from azure.servicebus.amqp import AmqpAnnotatedMessage
from azure.servicebus.exceptions import MessageSizeExceededError

from tests.conformance.service_bus.bus import LOCK, MARKS, Bus, bodies, one, scenario

pytestmark = MARKS


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
    assert await bodies(receiver, 2, 0.3) == ["y" * (255 * 1024)]


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
async def test_many_connections_share_a_queue_and_none_gets_the_same(bus: Bus) -> None:
    # [doc:message-transfers-locks-settlement]: a locked message is hidden from all other receivers
    queue = await bus.queue(lock_duration=60)
    # [sdk:_pyamqp.client]: every sender and receiver has a connection of its own
    receivers = await asyncio.gather(*(bus.receiver(queue) for _ in range(40)))
    sender = await bus.opened(bus.client.get_queue_sender(queue))
    for start in range(0, 200, 50):
        await sender.send_messages([ServiceBusMessage(f"{start + i}") for i in range(50)])
    taken = await asyncio.gather(*(bodies(receiver, 5) for receiver in receivers))
    assert sorted(int(body) for part in taken for body in part) == list(range(200))


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
async def test_duplicates_within_the_window_are_dropped(bus: Bus) -> None:
    sender, receiver = await bus.ends(await bus.queue(duplicate_detection_window=20))
    # [doc:duplicate-detection]: accepted and dropped; also within one batch
    await sender.send_messages(ServiceBusMessage("first", message_id="id"))
    await sender.send_messages([ServiceBusMessage("second", message_id="id"), ServiceBusMessage("x", message_id="y")])
    assert await bodies(receiver, 3, 0.3) == ["first", "x"]
    await bus.pass_time(21)
    await sender.send_messages(ServiceBusMessage("third", message_id="id"))
    assert await bodies(receiver, 1) == ["third"]


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
