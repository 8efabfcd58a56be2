"""Feeding a function from its queue: receive, run, renew locks meanwhile, settle by the outcome.

So many links side by side as may be in work at once, each with one message, one batch or one session at a time.
Source: ServiceBusListener and MessageProcessor of Azure/azure-sdk-for-net (complete when the function succeeds, abandon
whenever it fails) and "host.json settings" of the Service Bus bindings.
"""

import asyncio
import contextlib
import functools
import ssl
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSession
from azure.servicebus.exceptions import OperationTimeoutError, ServiceBusError, SessionLockLostError

from infra.local.host import bus_data
from infra.local.host.errors import StartError
from infra.local.host.host_file import ServiceBusOptions
from infra.local.host.invocation import Invoker
from infra.local.host.logs import HOST, log_failure
from infra.local.host.settings import Settings
from infra.local.host.worker import Function

# For receiving and settling alike, seconds. A namespace that stays away longer is reported and asked every second.
_RETRIES: dict[str, Any] = {"retry_total": 3, "retry_backoff_factor": 0.2, "retry_backoff_max": 2}
_SETTLING_LIMIT = 5.0  # seconds at the end for settlements
_CLOSING_LIMIT = 0.5  # seconds at the end for links to be detached and what they were sent meanwhile to be given back
_WAIT = 60.0  # seconds that a link waits for a message, or for a session, before it asks again
_PAUSE = 1.0  # seconds before a queue that cannot be reached is tried again
_MARGIN = 10.0  # seconds before a lock ends that it is renewed, at most half of what remains
_REFUSED = (ServiceBusError, OSError, ValueError)  # ValueError: the SDK's word for a link that is gone


class Listener:
    """One function and the queue that triggers it."""

    def __init__(self, function: Function, settings: Settings, options: ServiceBusOptions, invoker: Invoker) -> None:
        """Resolve queue and connection. Raises StartError for what is missing or not supported."""
        trigger = function.trigger
        if not trigger.get("queueName"):
            raise StartError(f"Function '{function.name}': topics are not supported locally.")
        self._queue = settings.resolve(trigger["queueName"], function.name)
        self._client = _connect(settings.connection(str(trigger.get("connection") or ""), function.name), function.name)
        self._function = function
        self._options = options
        self._invoker = invoker
        self._sessions = bool(trigger.get("isSessionsEnabled"))
        self._many = str(trigger.get("cardinality", "")).lower() == "many"
        self._waits: set[asyncio.Task[Any]] = set()
        self._reachable = True
        self._stopping = False
        self._links: set[asyncio.Task[None]] = set()  # they end some time after `stop_receiving`
        self._closings: set[asyncio.Task[None]] = set()  # of receivers: a link is gone at once, the rest takes a second

    def start(self) -> None:
        """Begin to listen, in the background; the namespace need not be there yet."""
        links = self._options.max_concurrent_sessions if self._sessions else self._options.max_concurrent_calls
        for _ in range(1 if self._many and not self._sessions else links):
            self._begin(self._keep_receiving(), self._links)

    def stop_receiving(self) -> None:
        """Take no more messages; what has begun goes on, what has come and not begun is given back."""
        self._stopping = True
        for wait in self._waits:
            wait.cancel()

    async def stop(self) -> None:
        """Let settlements end and disconnect."""
        for tasks, limit in ((self._links, _SETTLING_LIMIT), (self._closings, _CLOSING_LIMIT)):
            if tasks:
                await asyncio.wait(tasks, timeout=limit)

    async def _keep_receiving(self) -> None:
        while not self._stopping:
            receiver = self._client.get_queue_receiver(
                self._queue, session_id=NEXT_AVAILABLE_SESSION if self._sessions else None, max_wait_time=_WAIT
            )
            try:
                await self._wait(receiver.__aenter__())
                self._reached()
                await self._serve(receiver)
            except (OperationTimeoutError, SessionLockLostError):
                pass  # there was no session; it is no longer ours
            except _REFUSED as error:
                await self._wait(self._not_reached(error))
            finally:
                self._begin(receiver.close(), self._closings)

    async def _serve(self, receiver: ServiceBusReceiver) -> None:
        """Process what comes over one link; a session until it is idle."""
        if not self._sessions:
            while not self._stopping:
                await self._receive(receiver, _WAIT)
            return
        # once its lock is renewed no longer a session goes on, as on Azure, until it is lost, be it within a message
        async with self._kept(receiver, [receiver.session]):
            while not self._stopping:
                if not await self._receive(receiver, self._options.session_idle_timeout):
                    return

    async def _receive(self, receiver: ServiceBusReceiver, wait: float) -> bool:
        """Process the next message or batch; False when none came within `wait` seconds."""
        limit = self._options.max_message_batch_size if self._many else 1
        batch = await self._wait(receiver.receive_messages(limit, wait))
        if batch:
            async with contextlib.nullcontext() if self._sessions else self._kept(receiver, batch):
                running = asyncio.ensure_future(self._run(batch))
                await asyncio.wait([running])  # cancelled at the end of a drain
            succeeded = not running.cancelled() and running.result()
            settle = receiver.complete_message if succeeded else receiver.abandon_message
            for message in batch:
                try:
                    await settle(message)
                except _REFUSED as error:  # the service delivers it again
                    self._warn(f"a message could not be settled: {error}")
        return bool(batch)

    async def _run(self, batch: list[ServiceBusReceivedMessage]) -> bool:
        if self._many:
            data, metadata = bus_data.batch_datum(batch), bus_data.batch_metadata(batch)
            details = f"Messages: {len(batch)}"
        else:
            data, metadata = bus_data.message_datum(batch[0]), bus_data.message_metadata(batch[0])
            details = bus_data.details(metadata)
        parent = str(bus_data.properties(batch[0]).get("Diagnostic-Id") or "")
        outcome = await self._invoker.run(
            self._function, data, metadata, "(null)", trace_parent=parent, details=details
        )
        return outcome.succeeded

    @contextlib.asynccontextmanager
    async def _kept(
        self, receiver: ServiceBusReceiver, locked: list[ServiceBusReceivedMessage] | list[ServiceBusSession]
    ) -> AsyncIterator[None]:
        """Keep locks within, as long as maxAutoLockRenewalDuration allows."""
        done = asyncio.Event()
        renewing = asyncio.create_task(self._renew(receiver, locked, done))
        try:
            yield
        finally:
            done.set()
            await renewing

    async def _renew(
        self,
        receiver: ServiceBusReceiver,
        locked: list[ServiceBusReceivedMessage] | list[ServiceBusSession],
        done: asyncio.Event,
    ) -> None:
        end = time.time() + self._options.max_auto_lock_renewal_duration
        while True:
            left = min(lock.locked_until_utc.timestamp() for lock in locked if lock.locked_until_utc) - time.time()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), left - min(left / 2, _MARGIN))
            if done.is_set() or time.time() >= end:
                return
            try:
                for lock in locked:
                    if isinstance(lock, ServiceBusSession):
                        await lock.renew_lock()
                    else:
                        await receiver.renew_message_lock(lock)
            except _REFUSED as error:
                self._warn(f"a lock could not be renewed: {error}")
                return

    # ---- tasks and trouble

    def _begin(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(log_failure)

    async def _wait[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for something that need not come: cancelled when the host stops."""
        task = asyncio.ensure_future(work)
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)
        return await task

    def _reached(self) -> None:
        if not self._reachable:
            HOST.info("Function '%s': queue '%s' is reachable again.", self._function.name, self._queue)
        self._reachable = True

    async def _not_reached(self, error: Exception) -> None:
        if self._reachable:
            self._warn(f"queue '{self._queue}' can't be reached, trying again: {error}")
        self._reachable = False
        await asyncio.sleep(_PAUSE)

    def _warn(self, text: str) -> None:
        HOST.warning("Function '%s': %s", self._function.name, text)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Without a context of ours the SDK reads the system's certificates for every link."""
    return ssl.create_default_context()


def _connect(connection: str, function: str) -> ServiceBusClient:
    try:
        return ServiceBusClient.from_connection_string(connection, ssl_context=_tls(), **_RETRIES)
    except ValueError:
        raise StartError(f"Function '{function}': the Service Bus connection string is malformed.") from None
