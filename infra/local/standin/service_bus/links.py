"""The links of a connection to queues: producers that send, consumers that receive and settle.

Sources: AMQP 1.0 part 2 (links, settlement); learn.microsoft.com service-bus-amqp-protocol-guide (sessions by source
filter, outcomes and what they do); the SDK's `_pyamqp/receiver.py`: it sends an outcome unsettled and waits for a
settled disposition that echoes the outcome; a rejection with an error means that the settlement failed.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from proton import Delivery, Described, Disposition, Link, Terminus, symbol

from infra.local.standin.service_bus import errors, messages
from infra.local.standin.service_bus.broker import Entity, Pending
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.messages import MalformedError
from infra.local.standin.service_bus.model import DeathCertificate, Incoming, Message, SessionLock

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


class ServerLink:
    """A link that the service has accepted: what it does about what the client does."""

    def __init__(self, connection: "Connection", link: Link) -> None:
        self.link = link
        self._connection = connection

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
        link.max_message_size = MAX_MESSAGE_SIZE
        self.accept()

    def on_delivery(self, delivery: Delivery) -> None:
        """A message, or a batch, has come in whole."""
        payload = self.take(delivery)
        refusal: Refusal | None = None
        batch: list[Incoming] = []
        try:
            if len(payload) > MAX_MESSAGE_SIZE:
                raise errors.message_too_large(len(payload), MAX_MESSAGE_SIZE)
            batch = [messages.parse(part) for part in messages.unpack(payload)]
        except MalformedError as error:
            refusal = Refusal(400, "amqp:decode-error", str(error))
        except Refusal as error:
            refusal = error

        def act() -> None:
            if refusal is not None:
                raise refusal
            broker = self._connection.broker
            self._entity.queue.send(batch, broker.advance(self._entity))
            delivery.update(Disposition.ACCEPTED)
            delivery.settle()
            broker.pump(self._entity)

        def refuse(reason: Refusal) -> None:
            _reject(delivery, reason)

        scheduled = any(incoming.scheduled_at is not None for incoming in batch)
        self._connection.perform(
            "schedule" if scheduled else "send",
            self._entity.queue.path,
            self._principal,
            act,
            refuse,
            batch[0].correlation_id if batch else "",
        )


class Consumer(ServerLink):
    """A client's receiver, bound to a session where the queue has them."""

    def __init__(self, connection: "Connection", link: Link, entity: Entity, principal: str) -> None:
        super().__init__(connection, link)
        self.session: SessionLock | None = None
        self._entity = entity
        self._principal = principal
        self._unsettled: dict[Delivery, UUID] = {}
        self._under_way = 0  # delayed by latency
        self._timeout: asyncio.TimerHandle | None = None

    # ---- attaching

    def attach(self) -> None:
        """Open the link, or raise Pending until a session is free."""
        queue = self._entity.queue
        if self.link.remote_snd_settle_mode == Link.SND_SETTLED:
            raise errors.not_implemented("receiving and deleting at once")
        asked, session_id = _session_filter(self.link)
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
            self.grant(queue.accept_session(session_id, self._connection.broker.advance(self._entity)))
        else:
            self._wait_for_session()
            raise Pending

    def _wait_for_session(self) -> None:
        asked = (self.link.remote_properties or {}).get(_TIMEOUT)
        seconds = asked / 1000 if asked else _DEFAULT_ACCEPT_TIMEOUT

        def give_up() -> None:
            self._entity.waiting.remove(self)
            refusal = errors.timed_out(seconds)
            refuse_link(self.link, refusal)
            self._record("accept_session", refusal.status)
            self._connection.flush()

        self._timeout = asyncio.get_running_loop().call_later(seconds, give_up)
        self._entity.waiting.append(self)
        self._connection.broker.pump(self._entity)

    def grant(self, session: SessionLock) -> None:
        """The session that the receiver asked or waited for."""
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
            self._record("accept_session", 200)
        self.session = session
        self.accept(session)
        self._entity.consumers.append(self)
        self._connection.flush()

    # ---- delivering

    @property
    def capacity(self) -> int:
        """How many messages the receiver takes now."""
        return int(self.link.credit) - self._under_way

    def deliver(self, message: Message) -> None:
        """Send a message that was locked for this receiver."""
        self._under_way += 1
        lock = message.lock
        assert lock is not None  # noqa: S101 - what is received is locked

        def act() -> None:
            self._under_way -= 1
            delivery = self.link.delivery(lock.token.bytes_le)
            self.link.stream(messages.render(message))
            self.link.advance()
            self._unsettled[delivery] = lock.token

        def refuse(refusal: Refusal) -> None:
            self._under_way -= 1
            self._entity.queue.release(lock.token, self.session)
            self._detach(refusal)

        self._connection.perform(
            "receive", self._entity.queue.path, self._principal, act, refuse, message.incoming.correlation_id
        )

    def on_flow(self) -> None:
        """The receiver has given or drained credit."""
        self._connection.broker.pump(self._entity)
        if self.link.drain_mode:
            self.link.drained()

    # ---- settling

    def on_delivery(self, delivery: Delivery) -> None:
        """The receiver has said what shall become of a message."""
        state = delivery.remote_state
        token = self._unsettled.get(delivery)
        if token is None or (state not in _TERMINAL and not delivery.settled):
            return
        operation, settle = self._settlement(delivery, token)

        def act() -> str:
            broker = self._connection.broker
            broker.advance(self._entity)
            correlation_id = settle().incoming.correlation_id
            del self._unsettled[delivery]
            if state == Disposition.MODIFIED:
                delivery.local.failed = delivery.remote.failed
            delivery.update(state)
            delivery.settle()
            broker.pump(self._entity)
            return correlation_id

        def refuse(refusal: Refusal) -> None:
            del self._unsettled[delivery]
            _reject(delivery, refusal)

        self._connection.perform(operation, self._entity.queue.path, self._principal, act, refuse)

    def _settlement(self, delivery: Delivery, token: UUID) -> tuple[str, Callable[[], Message]]:
        queue, session = self._entity.queue, self.session
        state = delivery.remote_state
        if state == Disposition.ACCEPTED:
            return "complete", lambda: queue.complete(token, session)
        if state == Disposition.REJECTED:
            death = _death(delivery)
            return "dead_letter", lambda: queue.dead_letter(token, death, session)
        if state == Disposition.MODIFIED and delivery.remote.undeliverable:
            return "defer", _defer
        if state == Disposition.MODIFIED and delivery.remote.failed:
            return "abandon", lambda: queue.abandon(token, session)
        return "release", lambda: queue.release(token, session)

    # ---- ending

    def lose_session(self) -> None:
        """The session's lock has ended."""
        if self.session is not None:
            self._detach(errors.session_lock_lost(self.session.session_id))

    def _detach(self, refusal: Refusal) -> None:
        self.on_closed()
        self.link.condition = errors.condition(refusal.condition, refusal.description)
        self.link.close()
        self._connection.flush()

    def on_closed(self) -> None:
        """The link has ended: its session is free again; messages without session stay locked until their time."""
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        for group in (self._entity.waiting, self._entity.consumers):
            if self in group:
                group.remove(self)
        if self.session is not None:  # it stays known here, so that late settlements are refused for what they are
            self._entity.queue.release_session(self.session)
            self._connection.broker.pump(self._entity)

    def _record(self, operation: str, status: int) -> None:
        self._connection.broker.record(operation, self._principal, self._entity.queue.path, status)


def refuse_link(link: Link, refusal: Refusal) -> None:
    """Answer an attach with a detach that says why; until then a missing terminus says that ([amqp:2.6.3])."""
    (link.source if link.is_sender else link.target).type = Terminus.UNSPECIFIED
    link.condition = errors.condition(refusal.condition, refusal.description)
    link.open()
    link.close()


def _session_filter(link: Link) -> tuple[bool, str | None]:
    """Whether the receiver asks for a session, and for which; None is the next available."""
    data = link.remote_source.filter
    data.rewind()
    filters = data.get_object() if data.next() else None
    if not isinstance(filters, dict) or SESSION_FILTER not in filters:
        return False, None
    value = filters[SESSION_FILTER]
    return True, value.value if isinstance(value, Described) else value


def _death(delivery: Delivery) -> DeathCertificate:
    condition = delivery.remote.condition
    info = (condition.info if condition is not None else None) or {}
    reason, description = info.get(symbol("DeadLetterReason")), info.get(symbol("DeadLetterErrorDescription"))
    return DeathCertificate(str(reason or ""), str(description or ""))


def _defer() -> Message:
    raise errors.not_implemented("deferred messages")


def _reject(delivery: Delivery, refusal: Refusal) -> None:
    delivery.local.condition = errors.condition(refusal.condition, refusal.description)
    delivery.update(Disposition.REJECTED)
    delivery.settle()
