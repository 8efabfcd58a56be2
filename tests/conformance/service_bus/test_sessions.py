"""Sessions: one receiver each, first in, first out."""

import asyncio

import pytest
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage
from azure.servicebus.exceptions import OperationTimeoutError, SessionCannotBeLockedError, SessionLockLostError

from tests.conformance.service_bus.bus import LOCK, MARKS, PATIENCE, Bus, bodies, one, scenario

pytestmark = MARKS


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


@pytest.mark.plays("service_bus", "accept_session")
@scenario
async def test_a_receiver_is_told_that_its_session_lock_has_expired(bus: Bus) -> None:
    queue = await bus.queue(requires_session=True)
    first = await bus.receiver(queue, session_id="a")
    await bus.pass_time(LOCK + 1)
    await bus.receiver(queue, session_id="a")
    # [doc:message-sessions]: the lock ends, and [sdk:_pyamqp_transport] com.microsoft:session-lock-lost the link
    with pytest.raises(SessionLockLostError):
        await first.receive_messages(1, PATIENCE)


@pytest.mark.standin
@pytest.mark.plays("service_bus", "accept_session complete receive send")
@scenario
async def test_a_cut_connection_frees_its_session(bus: Bus) -> None:
    queue = await bus.queue(requires_session=True, lock_duration=60)
    sender, first = await bus.ends(queue, session_id="a")
    await sender.send_messages(ServiceBusMessage("m", session_id="a"))
    await one(first)
    for connection in list(bus.service.connections):
        connection.drop()
    # [doc:message-transfers-locks-settlement]: links are not recovered, so a session's link ends with its connection
    assert await bodies(await bus.receiver(queue, session_id=NEXT_AVAILABLE_SESSION), 1) == ["m"]
