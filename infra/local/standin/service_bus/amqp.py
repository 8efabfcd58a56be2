"""A client's connection: proton's sans-IO engine inside an asyncio protocol.

Bytes go in, events come out, and what the events lead to goes back as bytes; there are no tasks. proton's wrapper
objects are looked up in dictionaries rather than given attributes, which proton would keep alive for ever.
"""

import asyncio
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from proton import Collector, Endpoint, Event, Link, Transport, TransportException
from proton import Connection as Engine

from infra.local.standin.service_bus import errors
from infra.local.standin.service_bus.broker import Broker, Pending
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.links import Consumer, Producer, ServerLink, refuse_link
from infra.local.standin.service_bus.management import CBS, MANAGEMENT_SUFFIX, ReplyLink, RequestLink
from infra.local.standin.service_bus.security import Grants

_MAX_FRAME_SIZE = 64 * 1024  # bytes, what Azure offers in its open
_IDLE_TIMEOUT = 240.0  # seconds without a frame after which the connection is closed


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, broker: Broker, keys: dict[str, str], connections: set["Connection"]) -> None:
        self.broker = broker
        self.keys = keys
        self.grants = Grants()
        self._connections = connections
        self._links: dict[Link, ServerLink] = {}
        self._flush_asked = False
        self._loop = asyncio.get_running_loop()
        self._socket: asyncio.Transport | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._engine = Engine()
        self._events = Collector()
        self._engine.collect(self._events)
        self._transport = Transport(Transport.SERVER)
        self._transport.max_frame_size = _MAX_FRAME_SIZE
        self._transport.idle_timeout = _IDLE_TIMEOUT
        self._transport.sasl().allowed_mechs("ANONYMOUS EXTERNAL")
        self._transport.bind(self._engine)

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._socket = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            while data and (capacity := self._transport.capacity()) > 0:
                self._transport.push(data[:capacity])
                data = data[capacity:]
                self._handle_events()
        except TransportException:
            self._transport.close_tail()
        self._write()

    def eof_received(self) -> bool:
        """See asyncio.Protocol."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - given by asyncio
        """See asyncio.Protocol."""
        self._socket = None
        self._connections.discard(self)
        if self._tick is not None:
            self._tick.cancel()
        links = list(self._links.values())
        self._links.clear()
        for link in links:
            link.on_closed()

    # ---- the broker's side

    @property
    def alive(self) -> bool:
        """Whether answers can still reach the client."""
        return self._socket is not None

    def drop(self) -> None:
        """Cut the connection without a word."""
        if self._socket is not None:
            self._socket.abort()
            self._socket = None

    def flush(self) -> None:
        """Send what has been queued for the client: once in a turn of the loop, however often it was asked for."""
        if not self._flush_asked:
            self._flush_asked = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._flush_asked = False
        if self._socket is None:
            return
        while (pending := self._transport.pending()) > 0:
            data = self._transport.peek(pending)
            self._socket.write(data)
            self._transport.pop(len(data))
        if pending < 0:
            self._socket.close()

    def close(self) -> None:
        """Tell the client that the service ends."""
        if self._engine.state & Endpoint.LOCAL_ACTIVE:
            self._engine.condition = errors.condition("amqp:connection:forced", "The service is shutting down.")
            self._engine.close()
            self._write()
        if self._socket is not None:
            self._socket.close()

    def perform(
        self,
        operation: str,
        target: str,
        principal: str,
        act: Callable[[], str | None],
        refuse: Callable[[Refusal], None],
        correlation_id: str = "",
    ) -> None:
        """Carry out an operation for this client: see Broker.perform."""
        self.broker.perform(self, operation, target, principal, act, refuse, correlation_id)

    def reply_link(self, request_link: Link, node: str) -> ReplyLink:
        """The link for answers to what came over `request_link`: same session, same node."""
        for link in self._links.values():
            if isinstance(link, ReplyLink) and link.node == node and link.link.session == request_link.session:
                return link
        raise errors.not_allowed("There is no link for the answer.")

    # ---- the engine's side

    def _handle_events(self) -> None:
        while (event := self._events.peek()) is not None:
            handler = _HANDLERS.get(event.type)
            if handler is not None:
                handler(self, event)
            self._events.pop()

    def _on_connection_open(self, event: Event) -> None:
        self._engine.container = "bulkhead-service-bus"
        event.connection.open()
        self._loop.call_soon(self._on_tick)  # not now: it handles events itself

    def _on_tick(self) -> None:
        self._tick = None
        deadline = self._transport.tick(self._loop.time())
        self._handle_events()
        self._write()
        if deadline and self._socket is not None:
            self._tick = self._loop.call_at(deadline, self._on_tick)

    def _on_link_open(self, event: Event) -> None:
        link = event.link
        if link.state & Endpoint.LOCAL_UNINIT:
            address = (link.remote_source if link.is_sender else link.remote_target).address or ""
            path = urlsplit(address).path.strip("/") if "://" in address else address
            self._attach(link, path)

    def _attach(self, link: Link, path: str) -> None:
        if path == CBS:
            self._links[link] = ReplyLink(self, link, path) if link.is_sender else RequestLink(self, link, path)
            return
        managed = path.endswith(MANAGEMENT_SUFFIX)
        entity_path = path.removesuffix(MANAGEMENT_SUFFIX)
        principal = self.grants.principal(entity_path, self.broker.world.now())

        def act() -> None:
            if link.state & Endpoint.REMOTE_CLOSED:  # by a client that did not wait for a delayed answer
                raise Pending
            if principal is None:
                claim = "Listen" if link.is_sender else "Send"
                raise errors.unauthorized(
                    f"Unauthorized access. '{claim}' claim(s) are required to perform this operation. "
                    f"Resource: '{path}'."
                )
            entity = self.broker.entity(entity_path)
            if managed and link.is_sender:
                self._links[link] = ReplyLink(self, link, path)
            elif managed:
                self._links[link] = RequestLink(self, link, path, entity, principal)
            elif link.is_sender:
                consumer = Consumer(self, link, entity, principal)
                self._links[link] = consumer
                consumer.attach()
            elif entity.dead_letters is None:
                raise errors.not_allowed("Messages cannot be sent to a dead-letter queue.")
            else:
                self._links[link] = Producer(self, link, entity, principal)

        def refuse(refusal: Refusal) -> None:
            self._links.pop(link, None)
            refuse_link(link, refusal)

        self.perform(_attach_operation(link, managed=managed), entity_path, principal or "anonymous", act, refuse)

    def _on_link_closed(self, event: Event) -> None:
        link = event.link
        handler = self._links.pop(link, None)
        if handler is not None:
            handler.on_closed()
        if not link.state & Endpoint.LOCAL_CLOSED:
            link.close()
        # it is freed with its connection: an answer delayed by latency may still refer to it

    def _on_flow(self, event: Event) -> None:
        if (handler := self._links.get(event.link)) is not None:
            handler.on_flow()

    def _on_delivery(self, event: Event) -> None:
        delivery = event.delivery
        link = delivery.link
        handler = self._links.get(link)
        if handler is None or delivery.partial:
            return
        if delivery.aborted:
            link.advance()
            delivery.settle()
        elif delivery.readable if link.is_receiver else delivery.updated:
            handler.on_delivery(delivery)

    def _on_session_open(self, event: Event) -> None:
        event.session.open()

    def _on_session_closed(self, event: Event) -> None:
        session = event.session
        for link in [link for link in self._links if link.session == session]:
            self._links.pop(link).on_closed()
        session.close()

    def _on_connection_closed(self, event: Event) -> None:
        event.connection.close()


def _attach_operation(link: Link, *, managed: bool) -> str:
    if managed:
        return "open_management"
    if not link.is_sender:
        return "open_sender"
    data = link.remote_source.filter
    data.rewind()
    return "accept_session" if data.next() else "open_receiver"


_HANDLERS: dict[object, Callable[[Connection, Event], None]] = {
    Event.CONNECTION_REMOTE_OPEN: Connection._on_connection_open,  # noqa: SLF001 - the class's own table
    Event.CONNECTION_REMOTE_CLOSE: Connection._on_connection_closed,  # noqa: SLF001
    Event.SESSION_REMOTE_OPEN: Connection._on_session_open,  # noqa: SLF001
    Event.SESSION_REMOTE_CLOSE: Connection._on_session_closed,  # noqa: SLF001
    Event.LINK_REMOTE_OPEN: Connection._on_link_open,  # noqa: SLF001
    Event.LINK_REMOTE_CLOSE: Connection._on_link_closed,  # noqa: SLF001
    Event.LINK_REMOTE_DETACH: Connection._on_link_closed,  # noqa: SLF001
    Event.LINK_FLOW: Connection._on_flow,  # noqa: SLF001
    Event.DELIVERY: Connection._on_delivery,  # noqa: SLF001
}
