"""Links of an AMQP connection to Service Bus: receivers, and pairs for requests with answers."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import cproton
from proton import Condition, Data, Delivery, Described, Disposition, Link, Message, Terminus, symbol

ANSWER_TIMEOUT = 30.0  # seconds for an answer to an attach, a settlement or a request
_DRAIN_TIMEOUT = 2.0  # seconds; what arrives later is delivered again once its lock has ended
SESSION_FILTER = symbol("com.microsoft:session-filter")
_LOCKED_UNTIL = symbol("com.microsoft:locked-until-utc")
_TICKS_AT_EPOCH = 621_355_968_000_000_000  # .NET ticks (100 ns since year 1) at 1970-01-01


class AmqpError(Exception):
    """A link or request was refused, or the connection is gone. `condition` is AMQP's, such as `amqp:not-found`."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition


@dataclass(slots=True, frozen=True)
class Received:
    """A message and the delivery that settles it."""

    message: Message
    delivery: Delivery
    tag: bytes

    @property
    def lock_token(self) -> uuid.UUID:
        """The lock's name for `renew-lock`: Service Bus sends it as the delivery tag."""
        return uuid.UUID(bytes_le=self.tag)


class Connection(Protocol):
    """What a receiver needs of its connection."""

    def flush(self) -> None:
        """Send what the engine has to say."""
        ...

    async def settle(self, receiver: "Receiver", received: Received, outcome: int) -> None:
        """See Receiver.settle."""
        ...


class Receiver:
    """A link that receives from one queue, or from one session of it."""

    def __init__(self, client: "Connection", link: Link, on_message: Callable[["Receiver", Received], None]) -> None:
        self._client = client
        self._link = link
        self._on_message = on_message
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[AmqpError] = asyncio.get_running_loop().create_future()
        self._drained: asyncio.Future[None] | None = None
        self.session_id = ""
        self.locked_until = 0.0  # of the session, seconds since the epoch

    @property
    def name(self) -> str:
        """The link's name, which management requests refer to."""
        return str(self._link.name)

    @property
    def credit(self) -> int:
        """How many messages have been asked for and not come."""
        return int(self._link.credit)

    def add_credit(self, count: int) -> None:
        """Ask for `count` more messages."""
        if count > 0 and not self.closed.done():
            self._link.flow(count)
            self._client.flush()

    async def drain(self) -> None:
        """Ask for no more messages, and wait until those on their way have arrived."""
        if self.closed.done() or not self._link.credit:
            return
        self._drained = asyncio.get_running_loop().create_future()
        self._link.drain(0)
        self._client.flush()
        waited: list[asyncio.Future[Any]] = [self._drained, self.closed]
        await asyncio.wait(waited, timeout=_DRAIN_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)

    async def settle(self, received: Received, outcome: int) -> None:
        """Settle with Disposition.ACCEPTED, .RELEASED or .MODIFIED (abandon), and wait until the service has.

        Raises AmqpError when the service refuses (`com.microsoft:message-lock-lost`) or the link is gone.
        """
        await self._client.settle(self, received, outcome)

    async def close(self) -> None:
        """Detach the link; a session held by it is free for others then."""
        if not self.closed.done():
            self._link.close()
            self._client.flush()
            await asyncio.wait([self.closed], timeout=ANSWER_TIMEOUT)

    def on_open(self) -> None:
        """The service has answered the attach."""
        if self._link.remote_source.type == Terminus.UNSPECIFIED or self.opened.done():
            return  # a refusal: the detach with its reason follows
        filters = _first(self._link.remote_source.filter)
        if isinstance(filters, dict) and SESSION_FILTER in filters:
            value = filters[SESSION_FILTER]
            self.session_id = str(value.value if isinstance(value, Described) else value)
        properties = self._link.remote_properties
        if isinstance(properties, dict) and _LOCKED_UNTIL in properties:
            self.locked_until = (int(properties[_LOCKED_UNTIL]) - _TICKS_AT_EPOCH) / 10_000_000
        self.opened.set_result(None)

    def on_delivery(self, delivery: Delivery) -> None:
        """A whole message is there."""
        message = Message()
        message.decode(bytes(self._link.recv(delivery.pending) or b""))
        self._link.advance()
        self._on_message(self, Received(message, delivery, delivery_tag(delivery)))

    def on_flow(self) -> None:
        """The service has reported its view of the link."""
        if self._drained is not None and not self._drained.done() and not self._link.credit:
            self._drained.set_result(None)

    def on_closed(self, error: AmqpError) -> None:
        """The link has ended."""
        if not self.opened.done():
            self.opened.set_exception(error)
        if not self.closed.done():
            self.closed.set_result(error)


class Requests:
    """A pair of links to a request/response node: `$cbs` or an entity's `$management`."""

    def __init__(self, sender: Link, receiver: Link) -> None:
        self.sender = sender
        self._receiver = receiver
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pending: dict[str, asyncio.Future[Message]] = {}
        self._open_links = 0

    def on_open(self) -> None:
        """One of the two is attached."""
        self._open_links += 1
        if self._open_links == 2 and not self.opened.done():
            self.opened.set_result(None)

    def on_flow(self) -> None:
        """Nothing: requests are buffered until there is credit."""

    def on_delivery(self, delivery: Delivery) -> None:
        """An answer."""
        if not delivery.link.is_receiver:
            return
        message = Message()
        message.decode(bytes(self._receiver.recv(delivery.pending) or b""))
        self._receiver.advance()
        delivery.update(Disposition.ACCEPTED)
        delivery.settle()
        self._receiver.flow(1)
        future = self.pending.pop(str(message.correlation_id), None)
        if future and not future.done():
            future.set_result(message)

    def on_closed(self, error: AmqpError) -> None:
        """One of the two has ended: what waits will have no answer."""
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # looked at: nobody may be waiting any longer
        for future in self.pending.values():
            if not future.done():
                future.set_exception(error)
        self.pending.clear()


def delivery_tag(delivery: Delivery) -> bytes:
    """A delivery's tag; proton's own property takes it for UTF-8, which a lock token is not."""
    tag: bytes = cproton.bytes2pybytes(cproton.lib.pn_delivery_tag(delivery._impl))  # noqa: SLF001 - see above
    return tag


def error_of(condition: Condition | None) -> AmqpError:
    """The error that the service gives as reason for ending a link or refusing an outcome."""
    if condition is None:
        return AmqpError("amqp:link:detach-forced", "Closed without a reason.")
    return AmqpError(str(condition.name), str(condition.description or ""))


def _first(data: Data) -> Any:
    data.rewind()
    return data.get_object() if data.next() else None
