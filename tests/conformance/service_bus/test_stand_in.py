"""What only the stand-in has: faults, journal, a process to kill; and what a protocol must bear."""

import asyncio
import json
import os
import random
import struct
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusClient as BlockingClient
from azure.servicebus import ServiceBusMessage
from azure.servicebus._common.constants import ServiceBusMessageState
from azure.servicebus.aio import ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import ServiceBusConnectionError, ServiceBusError
from proton import uint, ushort

from infra.local.standin.service_bus import messages
from infra.local.standin.wire import FaultRule
from tests.conformance.service_bus.bus import MARKS, PATIENCE, Bus, bodies, eventually, one, scenario

pytestmark = MARKS


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
    rules.append(FaultRule("service_bus", operation="send", drop="request", times=1))
    with pytest.raises(ServiceBusConnectionError):
        await sender.send_messages(ServiceBusMessage("lost"))
    await sender.send_messages(ServiceBusMessage("n"))  # over a new connection
    assert await bodies(receiver, 2) == ["m", "n"]
    assert bus.operations("send") == [("send", 503), ("send", 0), ("send", 0), ("send", 200)]


@pytest.mark.standin
@pytest.mark.plays("service_bus", "abandon complete dead_letter receive send")
@scenario
async def test_a_message_whose_connection_is_cut_is_settled_over_another(bus: Bus) -> None:
    queue = await bus.queue()
    sender = await bus.opened(bus.client.get_queue_sender(queue))
    await sender.send_messages([ServiceBusMessage(name) for name in ("m0", "m1", "m2")])
    async with (
        bus.new_client(retry_total=3, retry_backoff_factor=0.01) as client,
        client.get_queue_receiver(queue) as receiver,
    ):
        first, second, third = await receiver.receive_messages(3, PATIENCE)
        for connection in list(bus.service.connections):
            connection.drop()
        # [sdk:aio._servicebus_receiver_async._settle_message]: by $management's update-disposition
        await receiver.complete_message(first)
        await receiver.abandon_message(second)
        await receiver.dead_letter_message(third, reason="why", error_description="so")
        again = await one(receiver)
    dead = await one(await bus.dead_letters(queue))
    assert (str(again), again.delivery_count) == ("m1", 1)
    assert (str(dead), dead.dead_letter_reason, dead.dead_letter_error_description) == ("m2", "why", "so")
    assert bus.operations("complete", "abandon", "dead_letter") == [
        ("complete", 200), ("abandon", 200), ("dead_letter", 200)
    ]  # fmt: skip


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
