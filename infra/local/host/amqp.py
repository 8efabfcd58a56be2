"""An AMQP 1.0 client for Service Bus: proton's sans-IO engine inside an asyncio protocol.

Instead of azure-servicebus, because a host needs what Azure's (.NET) host has and the Python SDK has not: all links on
one connection, a message in hand a millisecond after it was sent, a session accepted or released in one round trip,
settlement while messages come in. The protocol is that of "AMQP 1.0 in Azure Service Bus protocol guide"; links,
outcomes and requests are made as azure-servicebus makes them.
"""

import asyncio
import itertools
import ssl
import uuid
from collections.abc import Callable
from typing import Any, cast

from proton import (
    Collector,
    Delivery,
    Disposition,
    Endpoint,
    Event,
    Link,
    Message,
    Transport,
    TransportException,
    symbol,
    uint,
)
from proton import Connection as Engine

from infra.local.host.amqp_links import (
    ANSWER_TIMEOUT,
    SESSION_FILTER,
    AmqpError,
    Received,
    Receiver,
    Requests,
    delivery_tag,
    error_of,
)

__all__ = ["AmqpClient", "AmqpError", "Received", "Receiver"]

_TIMEOUT = symbol("com.microsoft:timeout")
_IDLE_TIMEOUT = 60.0  # seconds
_REQUEST_CREDIT = 100


class AmqpClient(asyncio.Protocol):
    """One connection. `closed` is done once it is gone, with the reason."""

    def __init__(self, host: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket: asyncio.Transport | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._engine = Engine()
        self._engine.hostname = host
        self._engine.container = f"bulkhead-host-{uuid.uuid4().hex[:8]}"
        self._events = Collector()
        self._engine.collect(self._events)
        self._transport = Transport()
        self._transport.idle_timeout = _IDLE_TIMEOUT
        self._transport.sasl().allowed_mechs("ANONYMOUS")
        self._transport.bind(self._engine)
        self._engine.open()
        self._session = self._engine.session()
        self._session.open()
        self._links: dict[Link, Receiver | Requests] = {}
        self._nodes: dict[str, Requests] = {}
        self._settling: dict[bytes, tuple[Receiver, asyncio.Future[None]]] = {}
        self._names = itertools.count(1)
        self.closed: asyncio.Future[AmqpError] = self._loop.create_future()

    @classmethod
    async def connect(cls, host: str, port: int, tls: ssl.SSLContext | None) -> "AmqpClient":
        """Connect to a namespace. Raises OSError."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: cls(host), host, port, ssl=tls)
        return client

    async def receive(
        self,
        queue: str,
        on_message: Callable[[Receiver, Received], None],
        *,
        next_session: bool = False,
        wait: float = ANSWER_TIMEOUT,
    ) -> Receiver:
        """Attach a receiver in peek-lock mode, without credit.

        With `next_session` it waits up to `wait` seconds for a session that is free and has messages. Raises
        AmqpError: `com.microsoft:timeout` when there was none.
        """
        self._check_open()
        link = self._session.receiver(f"{queue}-{next(self._names)}-{uuid.uuid4().hex[:8]}")
        link.source.address = queue
        link.target.address = link.name
        link.snd_settle_mode = Link.SND_UNSETTLED
        link.rcv_settle_mode = Link.RCV_SECOND
        if next_session:
            link.source.filter.put_object({SESSION_FILTER: None})
            link.properties = {_TIMEOUT: uint(int(wait * 1000))}
        receiver = Receiver(self, link, on_message)
        self._links[link] = receiver
        link.open()
        self.flush()
        try:
            await asyncio.wait_for(asyncio.shield(receiver.opened), wait + ANSWER_TIMEOUT)
        except (TimeoutError, asyncio.CancelledError):
            receiver.opened.cancel()
            link.close()
            self.flush()
            raise
        return receiver

    async def request(self, node: str, properties: dict[str, Any], body: Any) -> Message:
        """Send a request to `$cbs` or `<queue>/$management`; gives the answer. Raises AmqpError for a refusal."""
        self._check_open()
        pair = self._nodes.get(node) or self._open_node(node)
        await _answer(asyncio.shield(pair.opened), f"attaching to {node}")
        message = Message(body=body, properties=properties)
        message.id = str(uuid.uuid4())
        message.reply_to = node
        future: asyncio.Future[Message] = self._loop.create_future()
        pair.pending[message.id] = future
        message.send(pair.sender)
        self.flush()
        answer = await _answer(future, f"a request to {node}")
        found = answer.properties or {}
        status = int(found.get("statusCode", found.get("status-code", 500)))
        if status >= 300:
            condition = found.get("errorCondition", found.get("error-condition", f"status {status}"))
            text = found.get("statusDescription", found.get("status-description", ""))
            raise AmqpError(str(condition), str(text))
        return answer

    async def settle(self, receiver: Receiver, received: Received, outcome: int) -> None:
        """See Receiver.settle."""
        if receiver.closed.done():
            raise receiver.closed.result()
        future: asyncio.Future[None] = self._loop.create_future()
        self._settling[received.tag] = (receiver, future)
        if outcome == Disposition.MODIFIED:
            received.delivery.local.failed = True
        received.delivery.update(outcome)
        self.flush()
        try:
            await _answer(future, "a settlement")
        finally:
            self._settling.pop(received.tag, None)

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._engine.close()
            self.flush()
            if self._socket is not None:
                self._socket.close()

    def flush(self) -> None:
        """Send what the engine has to say."""
        if self._socket is None:
            return
        while (pending := self._transport.pending()) > 0:
            data = self._transport.peek(pending)
            self._socket.write(data)
            self._transport.pop(len(data))
        if pending < 0:
            self._socket.close()

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._socket = cast("asyncio.Transport", transport)
        self._on_tick()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            while data and (capacity := self._transport.capacity()) > 0:
                self._transport.push(data[:capacity])
                data = data[capacity:]
                self._handle_events()
        except TransportException:
            self._transport.close_tail()
            self._handle_events()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._socket = None
        if self._tick is not None:
            self._tick.cancel()
        condition = self._engine.remote_condition or self._transport.condition
        error = error_of(condition) if condition else AmqpError("amqp:connection:forced", str(exc or "closed"))
        for link in list(self._links):
            self._end(link, error)
        for _, future in list(self._settling.values()):
            if not future.done():
                future.set_exception(error)
        if not self.closed.done():
            self.closed.set_result(error)

    def _on_tick(self) -> None:
        self._tick = None
        deadline = self._transport.tick(self._loop.time())
        self._handle_events()
        self.flush()
        if deadline and self._socket is not None:
            self._tick = self._loop.call_at(deadline, self._on_tick)

    # ---- the engine's side

    def _handle_events(self) -> None:
        while (event := self._events.peek()) is not None:
            if event.type == Event.DELIVERY:
                self._on_delivery(event.delivery)
            elif event.type == Event.LINK_REMOTE_OPEN:
                if handler := self._links.get(event.link):
                    handler.on_open()
            elif event.type == Event.LINK_FLOW:
                if handler := self._links.get(event.link):
                    handler.on_flow()
            elif event.type in (Event.LINK_REMOTE_CLOSE, Event.LINK_REMOTE_DETACH):
                link = event.link
                if link.state & Endpoint.LOCAL_ACTIVE:
                    link.close()
                self._end(link, error_of(link.remote_condition))
                link.free()
            elif event.type == Event.CONNECTION_REMOTE_CLOSE:
                event.connection.close()
            self._events.pop()

    def _on_delivery(self, delivery: Delivery) -> None:
        link = delivery.link
        handler = self._links.get(link)
        if handler is None:
            return
        if link.is_receiver and delivery.readable:
            if not delivery.partial:
                handler.on_delivery(delivery)
        elif delivery.updated and delivery.settled:
            if link.is_receiver:
                self._on_settled(delivery)
            delivery.settle()

    def _on_settled(self, delivery: Delivery) -> None:
        tag = delivery_tag(delivery)
        _, future = self._settling.get(tag, (None, None))
        if future is None or future.done():
            return
        if delivery.remote_state == delivery.local_state:
            future.set_result(None)
        else:
            future.set_exception(error_of(delivery.remote.condition))

    def _end(self, link: Link, error: AmqpError) -> None:
        handler = self._links.pop(link, None)
        if handler is None:
            return
        for node, pair in list(self._nodes.items()):
            if pair is handler:
                del self._nodes[node]
        handler.on_closed(error)
        for receiver, future in list(self._settling.values()):
            if receiver is handler and not future.done():
                future.set_exception(error)

    def _open_node(self, node: str) -> Requests:
        name = f"{node}-{next(self._names)}"
        sender, receiver = self._session.sender(f"{name}-out"), self._session.receiver(f"{name}-in")
        sender.source.address = sender.target.address = node
        receiver.source.address = receiver.target.address = node
        for link in (sender, receiver):
            link.snd_settle_mode = Link.SND_UNSETTLED
            link.rcv_settle_mode = Link.RCV_FIRST
        pair = Requests(sender, receiver)
        self._nodes[node] = pair
        for link in (sender, receiver):
            self._links[link] = pair
            link.open()
        receiver.flow(_REQUEST_CREDIT)
        self.flush()
        return pair

    def _check_open(self) -> None:
        if self.closed.done():
            raise self.closed.result()


async def _answer[T](future: "asyncio.Future[T]", what: str) -> T:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await future
    except TimeoutError:
        raise AmqpError("com.microsoft:timeout", f"No answer to {what}.") from None
