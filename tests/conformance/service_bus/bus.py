"""Service Bus with the official SDK: what the suite works on.

The tests run side by side, each on a namespace of its own, because the SDK mostly sleeps: half a second to open a link
and up to one to close it. They run on the stand-in, or on Azure when CONFORMANCE_SERVICE_BUS holds the connection
string of a namespace with Manage rights; each test makes its own queues. Tests marked `standin` need faults, the
journal, a restart or a connection that is cut.
"""

import asyncio
import os
import ssl
import time
import uuid
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.aio.management import ServiceBusAdministrationClient

from infra.local.standin.service_bus import ServiceBus
from infra.local.standin.storage import Storage
from infra.local.standin.wire import World

AZURE = os.environ.get("CONFORMANCE_SERVICE_BUS")
LOCK = 5  # seconds: the shortest lock that Azure allows
PATIENCE = 10  # seconds to wait for what should come at once
TLS = ssl.create_default_context()  # made once: the SDK reads the system's certificates for every link
MARKS = [
    pytest.mark.asyncio(loop_scope="session"),
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
        options = {"retry_total": 0, "socket_timeout": 0.2 if AZURE else 0.03, "ssl_context": TLS, **options}
        return ServiceBusClient.from_connection_string(connection_string or self.connection_string, **options)

    async def queue(self, **settings: Any) -> str:
        name = f"conformance-{uuid.uuid4().hex[:12]}"
        if AZURE is None:
            self.service.create_queue(name, **{"lock_duration": LOCK, **settings})
            return name
        seconds = {
            "lock_duration": settings.get("lock_duration", LOCK),
            "default_message_time_to_live": settings.get("default_ttl"),
            "duplicate_detection_history_time_window": settings.get("duplicate_detection_window"),
        }
        async with ServiceBusAdministrationClient.from_connection_string(AZURE) as management:
            await management.create_queue(
                name,
                requires_session=settings.get("requires_session", False),
                requires_duplicate_detection="duplicate_detection_window" in settings,
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
SCENARIOS: dict[str, Scenario] = {}


def scenario(test: Scenario) -> Callable[..., Coroutine[Any, Any, None]]:
    """Make `test` one of those that run side by side."""

    async def outcome(runs: dict[str, asyncio.Task[Bus]], request: pytest.FixtureRequest) -> None:
        if request.node.name not in runs:
            pytest.skip("needs what only the stand-in offers")
        bus = await runs[request.node.name]
        if AZURE is None and (marker := request.node.get_closest_marker("plays")):
            assert {*marker.args[1].split()} <= {operation for operation, _ in bus.operations()}

    SCENARIOS[test.__name__] = test
    return outcome


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
