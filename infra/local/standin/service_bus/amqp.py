"""A client's connection: proton's sans-IO engine inside an asyncio protocol.

Bytes go in, events come out, and what the events lead to goes back as bytes; there are no tasks. proton's wrapper
objects are looked up in dictionaries rather than given attributes, which proton would keep alive for ever. Every
operation goes through `perform`, which applies latency and faults and writes the journal.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from proton import Collector, Endpoint, Event, Link, Transport, TransportException
from proton import Connection as Engine

from infra.local.standin.service_bus import errors
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.links import Consumer, Pending, Producer, ServerLink, refuse_link, session_filter
from infra.local.standin.service_bus.management import CBS, MANAGEMENT_SUFFIX, NodeLink
from infra.local.standin.service_bus.security import Grant

if TYPE_CHECKING:
    from infra.local.standin.service_bus.service import ServiceBus

_MAX_FRAME_SIZE = 64 * 1024  # bytes, what Azure offers in its open
_IDLE_TIMEOUT = 240.0  # seconds without a frame after which the connection is closed
_DROPPED = 0  # the journal's status of an operation whose connection was cut instead of answered


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, bus: "ServiceBus") -> None:
        self.bus = bus
        self.grants: dict[str, Grant] = {}  # by path
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
        self.bus.connections.add(self)

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

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - given by asyncio
        """See asyncio.Protocol."""
        self._socket = None
        self.bus.connections.discard(self)
        if self._tick is not None:
            self._tick.cancel()
        self._close_links(list(self._links))

    # ---- the links' side

    def perform(
        self,
        operation: str,
        target: str,
        principal: str,
        act: Callable[[], None],
        refuse: Callable[[Refusal], None],
        correlation_id: str = "",
    ) -> None:
        """Carry out one operation now or after the latency in force.

        `act` does it and queues its answer; `refuse` queues the answer to a Refusal.
        """
        weather = self.bus.world.weather
        rule = weather.strike("service_bus", operation, target)
        delay = weather.latency_ms.get("service_bus", 0.0) + ((rule.delay_ms or 0.0) if rule else 0.0)

        def carry_out() -> None:
            if self._socket is None:
                return
            status = _DROPPED
            if rule is None or rule.drop not in (True, "request"):
                try:
                    if rule is not None and rule.status is not None:
                        raise errors.injected(rule.status)
                    act()
                    status = 200
                except Pending:
                    return
                except Refusal as refusal:
                    status = refusal.status
                    refuse(refusal)
            if rule is not None and rule.drop:
                status = _DROPPED
                self.drop()
            else:
                self.flush()
            self.bus.world.journal.record("service_bus", operation, principal, target, status, correlation_id)

        if delay > 0:
            self._loop.call_later(delay / 1000, carry_out)
        else:
            carry_out()

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
            self._engine.condition = Refusal(503, "The service is shutting down.", "amqp:connection:forced").error
            self._engine.close()
            self._write()
        if self._socket is not None:
            self._socket.close()

    def reply_link(self, request: NodeLink) -> Link:
        """The link for answers to what came over `request`: same session, same node. Raises Refusal."""
        for link, handler in self._links.items():
            goes_back = link.is_sender and link.session == request.link.session
            if goes_back and isinstance(handler, NodeLink) and handler.node == request.node:
                return link
        raise errors.not_allowed("There is no link for the answer.")

    # ---- the engine's side

    def _handle_events(self) -> None:
        while (event := self._events.peek()) is not None:
            event.dispatch(self)  # to the method of its name
            self._events.pop()

    def on_connection_remote_open(self, event: Event) -> None:
        """A client opens the connection."""
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

    def on_link_remote_open(self, event: Event) -> None:
        """A client asks for a link."""
        link = event.link
        if link.state & Endpoint.LOCAL_UNINIT:
            address = (link.remote_source if link.is_sender else link.remote_target).address or ""
            self._attach(link, urlsplit(address).path.strip("/") if "://" in address else address)

    def _attach(self, link: Link, path: str) -> None:
        if path == CBS:
            self._open(NodeLink(self, link, path))
            return
        managed = path.endswith(MANAGEMENT_SUFFIX)
        entity_path = path.removesuffix(MANAGEMENT_SUFFIX)
        now = self.bus.world.now()
        principal = next((grant.principal for grant in self.grants.values() if grant.covers(entity_path, now)), "")

        def act() -> None:
            if link.state & Endpoint.REMOTE_CLOSED:  # by a client that did not wait for a delayed answer
                raise Pending
            if not principal:
                claim = "Listen" if link.is_sender else "Send"
                raise Refusal(
                    401,
                    f"Unauthorized access. '{claim}' claim(s) are required to perform this operation. "
                    f"Resource: '{path}'.",
                )
            entity = self.bus.entity(entity_path)
            if managed:
                self._open(NodeLink(self, link, path, entity, principal))
            elif link.is_sender:
                self._open(Consumer(self, link, entity, principal))
            else:
                self._open(Producer(self, link, entity, principal))

        def refuse(refusal: Refusal) -> None:
            self._links.pop(link, None)
            refuse_link(link, refusal)

        self.perform(_attach_operation(link, managed=managed), entity_path, principal or "anonymous", act, refuse)

    def _open(self, handler: ServerLink) -> None:
        self._links[handler.link] = handler
        handler.attach()

    def on_link_remote_close(self, event: Event) -> None:
        """A client ends a link."""
        self._close_links([event.link])
        if not event.link.state & Endpoint.LOCAL_CLOSED:
            event.link.close()
        # it is freed with its connection: an answer delayed by latency may still refer to it

    on_link_remote_detach = on_link_remote_close

    def on_link_flow(self, event: Event) -> None:
        """A client has given or taken credit."""
        if (handler := self._links.get(event.link)) is not None:
            handler.on_flow()

    def on_delivery(self, event: Event) -> None:
        """A message has come in, or the state of a sent one has changed."""
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

    def on_session_remote_open(self, event: Event) -> None:
        """A client begins an AMQP session: no session of Service Bus."""
        event.session.open()

    def on_session_remote_close(self, event: Event) -> None:
        """It ends one, and so its links."""
        self._close_links([link for link in self._links if link.session == event.session])
        event.session.close()

    def on_connection_remote_close(self, event: Event) -> None:
        """A client takes its leave."""
        event.connection.close()

    def _close_links(self, links: list[Link]) -> None:
        for handler in [self._links.pop(link) for link in links if link in self._links]:
            handler.on_closed()


def _attach_operation(link: Link, *, managed: bool) -> str:
    if managed:
        return "open_management"
    if not link.is_sender:
        return "open_sender"
    return "accept_session" if session_filter(link)[0] else "open_receiver"
