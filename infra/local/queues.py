"""The companies' HR systems and the queues that they share with Bulkhead."""

import base64
import contextlib
import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.servicebus.aio import ServiceBusClient

from infra.local.client import Client
from infra.local.company import Company
from infra.local.signing import QUEUE, REJECTED, HrSystem, put_on_queue
from infra.local.waiting import until

_JOBS = "screenings"
_LONGEST_WAIT = 15.0  # seconds


@dataclass(frozen=True, slots=True)
class Queues:
    """One stack's queues, as those outside of Bulkhead see them."""

    client: Client
    state: Path

    def system(self, company: Company) -> HrSystem:
        """The HR system of a company."""
        return HrSystem(self.state, company.deployed, self.client.endpoints)

    async def put(self, messages: list[str]) -> None:
        """Put signed orders on the queue."""
        await put_on_queue(self.client.endpoints.service_bus_connection_string, messages)

    async def send(self, messages: list[str], *, within: float = 30) -> None:
        """Put signed orders on the queue, and wait until they are dealt with. Raises TimeoutError."""
        await self.put(messages)
        await self.dealt_with(messages, within=within)

    async def dealt_with(self, messages: Collection[str], *, within: float = 30) -> None:
        """Wait until none of these orders is left on the queue, not even put off. Raises TimeoutError."""
        texts = [message.encode() for message in messages]

        async def look() -> bool:
            return not any(text in payload for _, payload in self._kept(QUEUE) for text in texts)

        await until(look, within)

    async def idle(self, company: Company, *, within: float = 30) -> None:
        """Wait until no job of the company is left in the queue. Raises TimeoutError."""

        async def look() -> bool:
            return not any(session.startswith(company.id) for session, _ in self._kept(_JOBS))

        await until(look, within)

    def _kept(self, queue: str) -> list[tuple[str, bytes]]:
        """Session and AMQP encoding of every message that waits in a queue, is put off or worked on."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state / 'state.db'}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT value FROM objects WHERE kind = ?", (f"service_bus/messages/{queue}",))
            kept = [json.loads(value)["incoming"] for (value,) in rows]
        return [(str(one["session_id"]), base64.b64decode(one["payload"])) for one in kept]

    async def rejected(self, messages: Collection[str]) -> dict[str, str]:
        """Those of `messages` that were rejected, with the reason: once all were, or what there is after 15 seconds."""
        string = self.client.endpoints.service_bus_connection_string
        found: dict[str, str] = {}
        async with (
            ServiceBusClient.from_connection_string(string) as client,
            client.get_queue_receiver(REJECTED) as receiver,
        ):

            async def look() -> bool:
                for message in await receiver.peek_messages(max_message_count=100):
                    if (text := str(message)) in messages:
                        properties: dict[Any, Any] = message.application_properties or {}
                        found[text] = properties[b"reason"].decode()
                return len(found) == len(messages)

            with contextlib.suppress(TimeoutError):
                await until(look, _LONGEST_WAIT)
        return found
