"""The links of a connection to queues: producers that send, consumers that receive and settle.

Sources: AMQP 1.0 part 2 (links, settlement); learn.microsoft.com service-bus-amqp-protocol-guide (sessions by source
filter, outcomes and what they do); the SDK's `_pyamqp/receiver.py`: it sends an outcome unsettled and waits for a
settled disposition that echoes the outcome; a rejection with an error means that the settlement failed.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from proton import Delivery, Described, Disposition, Link, Terminus, symbol

from infra.local.standin.service_bus import errors, messages
from infra.local.standin.service_bus.entities import Entity
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.model import DeathCertificate, Incoming, MessageLock, SessionLock

if TYPE_CHECKING:
    from infra.local.standin.service_bus.amqp import Connection

MAX_MESSAGE_SIZE = 256 * 1024  # bytes, Standard tier (service-bus-quotas)
SESSION_FILTER = symbol("com.microsoft:session-filter")
_TIMEOUT = symbol("com.microsoft:timeout")  # link property: milliseconds to wait for a session
_LOCKED_UNTIL = symbol("com.microsoft:locked-until-utc")
_DEFAULT_ACCEPT_TIMEOUT = 60.0  # seconds
_TICKS_AT_EPOCH = 621_355_968_000_000_000  # .NET ticks (100 ns since year 1) at 1970-01-01; SDK DATETIMEOFFSET_EPOCH
_CREDIT = 500  # messages that a client may have under way to the service
_TERMINAL = {Disposition.ACCEPTED, Disposition.REJECTED, Disposition.RELEASED, Disposition.MODIFIED}


class Pending(Exception):  # noqa: N818 - no error: the answer comes later, with its journal entry
    """Raised by an operation that cannot be answered yet."""


class ServerLink:
    """A client's link as the service sees it: what it does about what the client does."""

    def __init__(self, connection: "Connection", link: Link) -> None:
        self.link = link
        self._connection = connection

    def attach(self) -> None:
        """The client wants it."""
        self.accept()

    def accept(self, session: SessionLock | None = None) -> None:
        """Answer the attach as it was asked for, naming the session and the end of its lock."""
        link = self.link
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        link.snd_settle_mode = link.remote_snd_settle_mode
        link.rcv_settle_mode = link.remote_rcv_settle_mode
        if session is not None:
            link.source.filter.clear()
            link.source.filter.put_object({SESSION_FILTER: session.session_id})
            link.properties = {_LOCKED_UNTIL: _TICKS_AT_EPOCH + round(session.until * 1000) * 10_000}
        link.open()
        if link.is_receiver:
            link.flow(_CREDIT)

    def take(self, delivery: Delivery) -> bytes:
        """The encoded message that has come in; gives credit for more."""
        payload = bytes(self.link.recv(delivery.pending) or b"")
        self.link.advance()
        if self.link.credit < _CREDIT // 2:
            self.link.flow(_CREDIT - self.link.credit)
        return payload

    def on_flow(self) -> None:
        """Credit has changed."""

    def on_delivery(self, delivery: Delivery) -> None:
        """A whole message has come in, or the state of a sent one has changed."""

    def on_closed(self) -> None:
        """The link or its connection has ended."""


class Producer(ServerLink):
    """A client's sender."""

    def __init__(self, connection: "Connection", link: Link, entity: Entity, principal: str) -> None:
        super().__init__(connection, link)
        self._entity = entity
        self._principal = principal

    def attach(self) -> None:
        """Open the link. Raises Refusal."""
        if self._entity.dead_letters is None:
            raise errors.not_allowed("Messages cannot be sent to a dead-letter queue.")
        self.link.max_message_size = MAX_MESSAGE_SIZE
        self.accept()

    def on_delivery(self, delivery: Delivery) -> None:
        """A message, or a batch, has come in whole."""
        refusal: Refusal | None = None
        batch: list[Incoming] = []
        try:
            batch = _read(self.take(delivery))
        except Refusal as error:
            refusal = error

        def act() -> None:
            if refusal is not None:
                raise refusal
            self._entity.queue.send(batch, self._entity.advance())
            delivery.update(Disposition.ACCEPTED)
            delivery.settle()
            self._entity.pump()

        operation = "schedule" if any(incoming.scheduled_at is not None for incoming in batch) else "send"
        refuse = partial(_reject, delivery)
        correlation_id = batch[0].correlation_id if batch else ""
        self._connection.perform(operation, self._entity.queue.path, self._principal, act, refuse, correlation_id)


class Consumer(ServerLink):
    """A client's receiver, bound to a session where the queue has them."""

    def __init__(self, connection: "Connection", link: Link, entity: Entity, principal: str) -> None:
        super().__init__(connection, link)
        self.session: SessionLock | None = None
        self._entity = entity
        self._principal = principal
        self._unsettled: dict[Delivery, tuple[UUID, str]] = {}  # lock token, correlation id
        self._under_way = 0  # delayed by latency
        self._timeout: asyncio.TimerHandle | None = None

    # ---- attaching

    def attach(self) -> None:
        """Open the link, or raise Pending until a session is free. Raises Refusal."""
        queue = self._entity.queue
        if self.link.remote_snd_settle_mode == Link.SND_SETTLED:
            raise errors.not_implemented("receiving and deleting at once")
        asked, session_id = session_filter(self.link)
        if queue.settings.requires_session and not asked:
            raise errors.not_allowed(
                "It is not possible for an entity that requires sessions to create a non-sessionful message receiver."
            )
        if asked and not queue.settings.requires_session:
            raise errors.not_allowed(
                "A sessionful message receiver cannot be created on an entity that does not require sessions."
            )
        if not asked:
            self.accept()
            self._entity.consumers.append(self)
        elif session_id is not None:
            self.grant(queue.accept_session(session_id, self._entity.advance()))
        else:
            self._wait_for_session()
            raise Pending

    def _wait_for_session(self) -> None:
        asked = (self.link.remote_properties or {}).get(_TIMEOUT)
        seconds = asked / 1000 if asked else _DEFAULT_ACCEPT_TIMEOUT

        def give_up() -> None:
            self._entity.waiting.remove(self)
            refusal = Refusal(408, f"The operation did not complete within the allotted timeout of {seconds:.3f} s.")
            refuse_link(self.link, refusal)
            self._record_acceptance(refusal.status)
            self._connection.flush()

        self._timeout = asyncio.get_running_loop().call_later(seconds, give_up)
        self._entity.waiting.append(self)
        self._entity.pump()

    def grant(self, session: SessionLock) -> None:
        """The session that the receiver asked or waited for."""
        if self._timeout is not None:
            self._timeout.cancel()
            self._record_acceptance(200)
        self.session = session
        self.accept(session)
        self._entity.consumers.append(self)
        self._connection.flush()

    # ---- delivering

    @property
    def capacity(self) -> int:
        """How many messages the receiver takes now."""
        return int(self.link.credit) - self._under_way

    def deliver(self, lock: MessageLock) -> None:
        """Send a message that was locked for this receiver."""
        self._under_way += 1
        correlation_id = lock.message.incoming.correlation_id

        def act() -> None:
            self._under_way -= 1
            delivery = self.link.delivery(lock.token.bytes_le)
            self.link.stream(messages.render(lock.message))
            self.link.advance()
            self._unsettled[delivery] = lock.token, correlation_id

        def refuse(refusal: Refusal) -> None:
            self._under_way -= 1
            self._entity.queue.settle("release", lock.token, self.session)
            self._detach(refusal)

        self._connection.perform("receive", self._entity.queue.path, self._principal, act, refuse, correlation_id)

    def on_flow(self) -> None:
        """The receiver has given or drained credit."""
        self._entity.pump()
        if self.link.drain_mode:
            self.link.drained()

    # ---- settling

    def on_delivery(self, delivery: Delivery) -> None:
        """The receiver has said what shall become of a message."""
        state = delivery.remote_state
        if delivery not in self._unsettled or (state not in _TERMINAL and not delivery.settled):
            return
        token, correlation_id = self._unsettled.pop(delivery)
        operation = _settlement(delivery)

        def act() -> None:
            if operation == "defer":
                raise errors.not_implemented("deferred messages")
            self._entity.advance()
            death = _death(delivery) if operation == "dead_letter" else None
            self._entity.queue.settle(operation, token, self.session, death)
            if state == Disposition.MODIFIED:
                delivery.local.failed = delivery.remote.failed
            delivery.update(state)
            delivery.settle()
            self._entity.pump()

        refuse = partial(_reject, delivery)
        self._connection.perform(operation, self._entity.queue.path, self._principal, act, refuse, correlation_id)

    # ---- ending

    def lose_session(self) -> None:
        """The session's lock has ended."""
        if self.session is not None:
            self._detach(errors.session_lock_lost(self.session.session_id))

    def _detach(self, refusal: Refusal) -> None:
        self.on_closed()
        self.link.condition = refusal.error
        self.link.close()
        self._connection.flush()

    def on_closed(self) -> None:
        """The link has ended: its session is free again; messages without session stay locked until their time."""
        if self._timeout is not None:
            self._timeout.cancel()
        for group in (self._entity.waiting, self._entity.consumers):
            if self in group:
                group.remove(self)
        if self.session is not None:  # it stays known here, so that late settlements are refused for what they are
            self._entity.queue.release_session(self.session)
            self._entity.pump()

    def _record_acceptance(self, status: int) -> None:
        journal = self._connection.bus.world.journal
        journal.record("service_bus", "accept_session", self._principal, self._entity.queue.path, status)


def refuse_link(link: Link, refusal: Refusal) -> None:
    """Answer an attach with a detach that says why; until then a missing terminus says that ([amqp:2.6.3])."""
    (link.source if link.is_sender else link.target).type = Terminus.UNSPECIFIED
    link.condition = refusal.error
    link.open()
    link.close()


def session_filter(link: Link) -> tuple[bool, str | None]:
    """Whether the receiver asks for a session, and for which; None is the next available."""
    data = link.remote_source.filter
    data.rewind()
    filters = data.get_object() if data.next() else None
    if not isinstance(filters, dict) or SESSION_FILTER not in filters:
        return False, None
    value = filters[SESSION_FILTER]
    return True, value.value if isinstance(value, Described) else value


def _read(payload: bytes) -> list[Incoming]:
    if len(payload) > MAX_MESSAGE_SIZE:
        limit = f"exceeds the limit ({MAX_MESSAGE_SIZE}) currently allowed on the link."
        raise Refusal(413, f"The received message (size:{len(payload)}) {limit}")
    return [messages.parse(part) for part in messages.unpack(payload)]


def _settlement(delivery: Delivery) -> str:
    """What the receiver's outcome asks for, as the journal names it."""
    state = delivery.remote_state
    if state == Disposition.ACCEPTED:
        return "complete"
    if state == Disposition.REJECTED:
        return "dead_letter"
    if state == Disposition.MODIFIED and delivery.remote.undeliverable:
        return "defer"
    return "abandon" if state == Disposition.MODIFIED and delivery.remote.failed else "release"


def _death(delivery: Delivery) -> DeathCertificate:
    condition = delivery.remote.condition
    info = (condition.info if condition is not None else None) or {}
    reason, description = info.get(symbol("DeadLetterReason")), info.get(symbol("DeadLetterErrorDescription"))
    return DeathCertificate(str(reason or ""), str(description or ""))


def _reject(delivery: Delivery, refusal: Refusal) -> None:
    delivery.local.condition = refusal.error
    delivery.update(Disposition.REJECTED)
    delivery.settle()
