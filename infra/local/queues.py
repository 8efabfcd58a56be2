"""The companies' HR systems and the queues that they share with Bulkhead."""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from azure.servicebus.aio import ServiceBusClient

from infra.local.client import Client
from infra.local.company import Company
from infra.local.signing import QUEUE, REJECTED, HrSystem, put_on_queue

_POLL = 0.1  # seconds
_LONGEST_WAIT = 15.0


@dataclass(frozen=True, slots=True)
class Queues:
    """One stack's queues, as those outside of Bulkhead see them."""

    client: Client
    state: Path

    def system(self, company: Company) -> HrSystem:
        """The HR system of a company."""
        endpoints = self.client.endpoints
        return HrSystem(
            self.state, company.name, company.deployed["directory_id"], endpoints.env["BULKHEAD_API_AUDIENCE"]
        )

    async def put(self, messages: list[str]) -> None:
        """Put signed orders on the queue."""
        await put_on_queue(self.client.endpoints.service_bus_connection_string, messages)

    async def send(self, messages: list[str]) -> None:
        """Put signed orders on the queue, and wait until Bulkhead has taken as many; it may have put some off."""
        _, since = await self.client.journal()
        await self.put(messages)
        await self.done(QUEUE, len(messages), since)

    async def done(self, queue: str, count: int, since: int) -> None:
        """Wait until `count` messages of a queue have been completed since entry `since` of the journal."""
        wanted = ("service_bus", "complete", queue)
        while True:
            entries, _ = await self.client.journal(since)
            if sum((entry["service"], entry["operation"], entry["target"]) == wanted for entry in entries) >= count:
                return
            await asyncio.sleep(_POLL)

    async def rejected(self, messages: Collection[str]) -> dict[str, str]:
        """Those of `messages` that were rejected, with the reason: once all were, or what there is after 15 seconds."""
        string = self.client.endpoints.service_bus_connection_string
        found: dict[str, str] = {}
        async with (
            ServiceBusClient.from_connection_string(string) as client,
            client.get_queue_receiver(REJECTED) as receiver,
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_WAIT):
                    while len(found) < len(messages):
                        for message in await receiver.peek_messages(max_message_count=100):
                            properties = message.application_properties or {}
                            if (text := str(message)) in messages:
                                found[text] = _text(properties.get(b"reason") or properties.get("reason"))
                        await asyncio.sleep(_POLL)
        return found


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
