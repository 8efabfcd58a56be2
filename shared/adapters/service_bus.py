"""Service Bus: the queues that the application writes to. Senders stay open, since opening one takes half a second."""

import asyncio
import contextlib
import zlib
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any

import msgspec
from azure.core.credentials_async import AsyncTokenCredential
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from azure.servicebus.exceptions import ServiceBusError

from shared.core.clock import Clock
from shared.core.context import REQUEST_ID
from shared.core.errors import BulkheadError, Kind
from shared.core.secret import Secret
from shared.screening.models import ScreeningJob
from shared.screening.ports import CHECK_REQUESTS, QUEUE_UNAVAILABLE, REJECTED, SCREENINGS

# Seconds. The SDK's own defaults would keep a request for longer than it is worth waiting for.
_RETRIES: dict[str, Any] = {"retry_total": 2, "retry_backoff_factor": 0.2, "retry_backoff_max": 2}
_WITHIN = 20.0  # seconds for a message, with those before it: the SDK alone would wait for a namespace without an end
_CLOSING = 2.0  # seconds for a link that is given up
_SESSIONS_PER_TENANT = 4  # a tenant's flood occupies at most so many sessions at a time, so others get their turn


class Queues:
    """Sends to any queue of the namespace."""

    def __init__(self, client: ServiceBusClient, clock: Clock, *, within: float = _WITHIN) -> None:
        self._client = client
        self._clock = clock
        self._within = within
        self._senders: dict[str, ServiceBusSender] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def send(self, queue: str, messages: Sequence[ServiceBusMessage], delay: float = 0) -> None:
        """Send `messages` together, to appear after `delay` seconds. Raises BulkheadError (unavailable)."""
        if delay > 0:
            appear = self._clock.now().astimezone(UTC) + timedelta(seconds=delay)
            for message in messages:
                message.scheduled_enqueue_time_utc = appear
        # One at a time: a sender's link is not made for concurrent use.
        turn = self._locks.setdefault(queue, asyncio.Lock())
        try:
            async with asyncio.timeout(self._within), turn:
                await self._send(queue, list(messages))
        except (ServiceBusError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise BulkheadError(
                Kind.UNAVAILABLE, QUEUE_UNAVAILABLE, "The work cannot be queued at the moment.", retry_after=5
            ) from error

    async def _send(self, queue: str, messages: list[ServiceBusMessage]) -> None:
        sender = self._senders.get(queue)
        if sender is None:
            sender = self._senders[queue] = self._client.get_queue_sender(queue)
        try:
            await sender.send_messages(messages)
        except BaseException:  # its link may be broken, or in the middle of a message: the next one gets a new link
            del self._senders[queue]
            with contextlib.suppress(ServiceBusError, OSError):
                async with asyncio.timeout(_CLOSING):
                    await sender.close()
            raise


def connect(
    connection_string: Secret | None, namespace: str | None, identity: AsyncTokenCredential
) -> ServiceBusClient:
    """A client by connection string (local stack), else by namespace with the managed identity."""
    if connection_string is not None:
        return ServiceBusClient.from_connection_string(connection_string.reveal(), **_RETRIES)
    if namespace is None:
        raise ValueError("neither a connection string nor a namespace")
    return ServiceBusClient(namespace, identity, **_RETRIES)


class Screenings:
    """shared.screening.ports.ScreeningQueue."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    async def enqueue(self, jobs: list[ScreeningJob], delay: float) -> None:
        """Put jobs on the queue. Raises BulkheadError (unavailable)."""
        messages = [
            ServiceBusMessage(
                msgspec.json.encode(job),
                # A job delivered twice comes again once. Who orders again gets screenings with ids of their own.
                message_id=f"{job.screening_id}-{job.attempt}",
                content_type="application/json",
                session_id=f"{job.tenant_id}-{zlib.crc32(job.report_id.encode()) % _SESSIONS_PER_TENANT}",
                correlation_id=REQUEST_ID.get() or None,
            )
            for job in jobs
        ]
        await self._queues.send(SCREENINGS, messages, delay)


class CheckRequests:
    """shared.screening.ports.RequestQueue."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    async def reject(self, message: bytes, reason: str) -> None:
        """Move a message to the rejected ones. Raises BulkheadError (unavailable)."""
        await self._queues.send(REJECTED, [self._message(message, {"reason": reason})])

    async def retry(self, message: bytes, attempt: int, delay: float) -> None:
        """Put a message on the queue again. Raises BulkheadError (unavailable)."""
        await self._queues.send(CHECK_REQUESTS, [self._message(message, {"attempt": attempt})], delay)

    def _message(self, body: bytes, properties: dict[str | bytes, int | str]) -> ServiceBusMessage:
        return ServiceBusMessage(
            body,
            content_type="application/jose",
            application_properties=properties,  # type: ignore[arg-type]
            correlation_id=REQUEST_ID.get() or None,
        )
