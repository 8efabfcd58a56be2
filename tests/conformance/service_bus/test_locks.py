"""Locks of messages, and the ways to settle one."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceiveMode
from azure.servicebus.aio import AutoLockRenewer
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from tests.conformance.service_bus.bus import LOCK, MARKS, Bus, bodies, eventually, one, scenario

pytestmark = MARKS


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
    graves = await bus.dead_letters(queue)
    waiting = asyncio.create_task(one(graves))
    await sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    await receiver.dead_letter_message(await one(receiver), reason="Rejected", error_description="not signed")
    await receiver.dead_letter_message(await one(receiver))
    first, second = await waiting, await one(graves)
    # [doc:service-bus-dead-letter-queues] "Application-level dead-lettering"
    assert (first.dead_letter_reason, first.dead_letter_error_description) == ("Rejected", "not signed")
    assert second.dead_letter_reason is None
    await graves.complete_message(first)
    await graves.abandon_message(second)
    assert [str(m) for m in await graves.peek_messages(9, sequence_number=1)] == ["b"]


@pytest.mark.plays("service_bus", "accept_session complete dead_letter peek receive send")
@scenario
async def test_a_dead_letter_is_looked_at_and_sent_again(bus: Bus) -> None:
    queue = await bus.queue(requires_session=True)
    sender, receiver = await bus.ends(queue, session_id="s")
    await sender.send_messages(ServiceBusMessage("m", session_id="s", message_id="id"))
    await receiver.dead_letter_message(await one(receiver), reason="Rejected")
    # [doc:service-bus-dead-letter-queues] "Sending dead-lettered messages to be reprocessed"; there are no sessions
    graves = await bus.dead_letters(queue)
    [shown] = await graves.peek_messages(10)
    dead = await one(graves)
    assert (shown.message_id, shown.dead_letter_reason, dead.sequence_number) == (
        "id",
        "Rejected",
        shown.sequence_number,
    )
    assert dead.locked_until_utc - datetime.now(UTC) <= timedelta(seconds=LOCK + 1)
    await sender.send_messages(ServiceBusMessage(b"".join(dead.body), session_id=dead.session_id))
    await graves.complete_message(dead)
    assert await bodies(receiver, 1) == ["m"]
    assert await graves.peek_messages(10, sequence_number=1) == []


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
    for connection in list(bus.service.connections):
        connection.drop()
    other = await bus.receiver(queue)
    # [doc:message-transfers-locks-settlement]: a lock ends by settlement or by its time, not with the link
    assert await other.receive_messages(1, 0.1) == []
    await bus.pass_time(LOCK + 1)
    assert await bodies(other, 1) == ["m"]
