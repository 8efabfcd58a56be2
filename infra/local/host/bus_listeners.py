"""Receiving from a queue: many messages at once, or one (or one batch) after the other, by session or without.

Source: ServiceBusListener of Azure/azure-sdk-for-net and "host.json settings" of the Service Bus bindings.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from proton import Disposition

from infra.local.host.amqp import AmqpClient, AmqpError, Received, Receiver
from infra.local.host.bus_processing import Processor

_ACCEPT_WAIT = 60.0  # seconds that an acceptor waits for a session before it asks again
_PAUSE = 1.0  # seconds before a refused attach is tried again
_BATCH_GAP = 0.02  # seconds to wait for more of a batch; AmqpReceiver.cs of Azure.Messaging.ServiceBus


class Listener(Protocol):
    """What feeds one function."""

    processor: Processor
    tasks: set[asyncio.Task[None]]

    async def listen(self, client: AmqpClient) -> None:
        """Receive on this connection until cancelled; what has begun goes on."""
        ...

    async def stop_receiving(self) -> None:
        """Take no more messages; give back those that have come and not begun."""
        ...


def make_listener(processor: Processor) -> Listener:
    """The listener that fits the function's trigger."""
    return SequentialListener(processor) if processor.sessions or processor.many else ConcurrentListener(processor)


class ConcurrentListener:
    """A queue without sessions: up to maxConcurrentCalls messages at once over one link."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self.tasks: set[asyncio.Task[None]] = set()  # one a message that is being processed
        self._waiting: deque[tuple[Receiver, Received]] = deque()  # prefetched
        self._receiver: Receiver | None = None
        self._stopping = asyncio.Event()

    async def listen(self, client: AmqpClient) -> None:
        """See Listener."""
        options = self.processor.options
        self.processor.use(client)
        while not self._stopping.is_set():
            receiver = await _attach(self.processor, client, self._on_message)
            if receiver is None:
                continue
            self._waiting.clear()  # of a link that is gone
            self._receiver = receiver
            receiver.add_credit(options.max_concurrent_calls + options.prefetch_count - len(self.tasks))
            await asyncio.shield(receiver.closed)

    async def stop_receiving(self) -> None:
        """See Listener."""
        self._stopping.set()
        if self._receiver is not None:
            await self._receiver.drain()
            waiting = [received for _, received in self._waiting]
            self._waiting.clear()
            await self.processor.settle(self._receiver, waiting, Disposition.RELEASED)

    def _on_message(self, receiver: Receiver, received: Received) -> None:
        self._waiting.append((receiver, received))
        self._begin()

    def _begin(self) -> None:
        while (
            self._waiting
            and not self._stopping.is_set()
            and len(self.tasks) < self.processor.options.max_concurrent_calls
        ):
            receiver, received = self._waiting.popleft()
            task = asyncio.ensure_future(self.processor.process(receiver, [received]))
            self.tasks.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):  # the message comes again once its lock has ended
            self.processor.log.host_error(f"Function '{self.processor.function.name}': {error!r}")
        if not self._stopping.is_set() and self._receiver is not None:
            self._receiver.add_credit(1)
            self._begin()


class SequentialListener:
    """Sessions, maxConcurrentSessions of them at once, and batches: each link's messages one after the other."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self.tasks: set[asyncio.Task[None]] = set()  # one a link
        self._attaching: set[asyncio.Task[Receiver | None]] = set()
        self._inboxes: set[asyncio.Queue[Received | None]] = set()
        self._stopping = asyncio.Event()

    async def listen(self, client: AmqpClient) -> None:
        """See Listener."""
        self.processor.use(client)
        links = self.processor.options.max_concurrent_sessions if self.processor.sessions else 1
        async with asyncio.TaskGroup() as group:
            for _ in range(links):
                group.create_task(self._keep_attached(client))

    async def stop_receiving(self) -> None:
        """See Listener."""
        self._stopping.set()
        for attaching in self._attaching:
            attaching.cancel()
        for inbox in self._inboxes:
            inbox.put_nowait(None)

    async def _keep_attached(self, client: AmqpClient) -> None:
        while not self._stopping.is_set():
            inbox: asyncio.Queue[Received | None] = asyncio.Queue()
            attaching = asyncio.ensure_future(_attach(self.processor, client, _into(inbox)))
            self._attaching.add(attaching)
            try:
                receiver = await attaching
            except asyncio.CancelledError:
                if self._stopping.is_set():
                    return
                raise
            finally:
                self._attaching.discard(attaching)
            if receiver is not None:
                # a task of its own, so that what has begun goes on when the connection is given up
                task = asyncio.ensure_future(self._serve(receiver, inbox))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
                await asyncio.shield(task)

    async def _serve(self, receiver: Receiver, inbox: "asyncio.Queue[Received | None]") -> None:
        """Process what comes over one link until it is closed, idle (a session) or the host stops."""
        options = self.processor.options
        sessions = self.processor.sessions
        limit = options.max_message_batch_size if self.processor.many else 1
        idle = options.session_idle_timeout if sessions else None
        # a session whose lock will not be renewed any longer is given up between two messages rather than within one
        end = time.monotonic() + options.max_auto_lock_renewal if sessions else float("inf")
        renewal = asyncio.ensure_future(self.processor.renew_session(receiver)) if sessions else None
        self._inboxes.add(inbox)
        receiver.closed.add_done_callback(lambda _: inbox.put_nowait(None))
        try:
            while not self._stopping.is_set():
                receiver.add_credit(limit + options.prefetch_count - receiver.credit - inbox.qsize())
                batch = await _next(inbox, limit, idle)
                if not batch:
                    break
                await self.processor.process(receiver, batch)
                if time.monotonic() >= end:
                    break
            await receiver.drain()
            rest = [received for received in _emptied(inbox) if received is not None]
            await self.processor.settle(receiver, rest, Disposition.RELEASED)
        finally:
            self._inboxes.discard(inbox)
            if renewal is not None:
                renewal.cancel()
        await receiver.close()


async def _attach(
    processor: Processor, client: AmqpClient, on_message: Callable[[Receiver, Received], None]
) -> Receiver | None:
    """A link to the queue, or to its next free session; None when there is none now."""
    try:
        return await client.receive(processor.queue, on_message, next_session=processor.sessions, wait=_ACCEPT_WAIT)
    except TimeoutError:
        return None
    except AmqpError as error:
        if client.closed.done() or error.condition == "com.microsoft:timeout":
            await asyncio.sleep(0)
            return None
        processor.log.host_warning(
            f"Function '{processor.function.name}': queue '{processor.queue}' can't be opened: {error}"
        )
        await asyncio.sleep(_PAUSE)
        return None


def _into(inbox: "asyncio.Queue[Received | None]") -> Callable[[Receiver, Received], None]:
    return lambda _, received: inbox.put_nowait(received)


async def _next(inbox: "asyncio.Queue[Received | None]", limit: int, idle: float | None) -> list[Received]:
    """At least one message and at most `limit` that come together; none when idle, closed or stopping."""
    batch: list[Received] = []
    wait = idle
    while len(batch) < limit:
        try:
            async with asyncio.timeout(wait):
                received = await inbox.get()
        except TimeoutError:
            break
        if received is None:
            inbox.put_nowait(None)  # for the next look
            break
        batch.append(received)
        wait = _BATCH_GAP
    return batch


def _emptied(inbox: "asyncio.Queue[Received | None]") -> list[Received | None]:
    return [inbox.get_nowait() for _ in range(inbox.qsize())]
