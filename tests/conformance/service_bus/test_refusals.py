"""What is refused, and how."""

import asyncio

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import MessagingEntityNotFoundError, ServiceBusAuthenticationError, ServiceBusError

from tests.conformance.service_bus.bus import AZURE, MARKS, Bus, scenario

pytestmark = MARKS


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
