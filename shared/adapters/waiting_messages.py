"""Service Bus, for operators: messages that wait for a person, and their way back to their queue."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError

from shared.core.clock import rfc3339
from shared.core.errors import BulkheadError, Kind
from shared.screening.ports import CHECK_REQUESTS, REJECTED, SCREENINGS

# Where messages wait -> the queue that they go back to. Of a queue that is its own, the dead letters are meant.
PLACES = {REJECTED: CHECK_REQUESTS, CHECK_REQUESTS: CHECK_REQUESTS, SCREENINGS: SCREENINGS}

_PAGE = 100
_QUIET = 1.0  # seconds without a message, after which there is none left
_OURS = frozenset({"reason", "attempt"})  # what the service noted: a message that is sent again starts afresh


class WaitingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `number` is Service Bus's own in that place."""

    number: int
    enqueued_at: str
    reason: str
    deliveries: int
    correlation_id: str
    body: str


class WaitingMessages:
    """Lists and sends again. All methods raise BulkheadError (unavailable)."""

    def __init__(self, client: ServiceBusClient) -> None:
        self._client = client

    async def all(self, place: str) -> list[WaitingMessage]:
        """Every message of one of PLACES, oldest first. None is taken away or counted as delivered."""
        found: list[WaitingMessage] = []
        with _translated():
            async with self._receiver(place) as receiver:
                while page := await receiver.peek_messages(_PAGE, sequence_number=found[-1].number + 1 if found else 0):
                    found += [_read(message) for message in page]
        return found

    async def send_again(self, place: str, numbers: Collection[int]) -> set[int]:
        """Send the messages of these numbers, and only then take them away; gives those that were there.

        A message can be there twice when this is interrupted: everything that a message triggers is idempotent.
        """
        sent: set[int] = set()
        passed: dict[int | None, ServiceBusReceivedMessage] = {}
        with _translated():
            async with self._receiver(place) as receiver, self._client.get_queue_sender(PLACES[place]) as sender:
                while len(sent) < len(set(numbers)):
                    page = await receiver.receive_messages(_PAGE, max_wait_time=_QUIET)
                    # A lock lasts a minute. When the first ones are over, what was passed comes again: that is the end.
                    if all(message.sequence_number in passed for message in page):
                        break
                    for message in page:
                        number = message.sequence_number
                        if number is not None and number in numbers:
                            await sender.send_messages(_copy(message))
                            await receiver.complete_message(message)
                            sent.add(number)
                        else:
                            passed[number] = message
                for message in passed.values():
                    with suppress(MessageLockLostError):
                        await receiver.abandon_message(message)
        return sent

    def _receiver(self, place: str) -> ServiceBusReceiver:
        if PLACES[place] == place:
            return self._client.get_queue_receiver(place, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
        return self._client.get_queue_receiver(place)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (AzureError, OSError) as error:
        raise BulkheadError(Kind.UNAVAILABLE, "queue_unavailable", "Service Bus does not answer.") from error


def _read(message: ServiceBusReceivedMessage) -> WaitingMessage:
    properties = dict(_texts(message.application_properties))
    enqueued = message.enqueued_time_utc
    return WaitingMessage(
        number=message.sequence_number or 0,
        enqueued_at=rfc3339(enqueued) if enqueued else "",
        reason=str(properties.get("reason") or message.dead_letter_reason or ""),
        deliveries=message.delivery_count or 0,
        correlation_id=message.correlation_id or "",
        body=_body(message).decode(errors="replace"),
    )


def _copy(message: ServiceBusReceivedMessage) -> ServiceBusMessage:
    kept: dict[str | bytes, Any] = {
        name: value for name, value in _texts(message.application_properties) if name not in _OURS
    }
    return ServiceBusMessage(
        _body(message),
        content_type=message.content_type,
        session_id=message.session_id,
        correlation_id=message.correlation_id,
        application_properties=kept,
    )


def _body(message: ServiceBusReceivedMessage) -> bytes:
    return b"".join(message.body)


def _texts(properties: Mapping[Any, Any] | None) -> Iterable[tuple[str, Any]]:
    """Application properties; the SDK gives names and texts as bytes."""
    for name, value in (properties or {}).items():
        yield _text(name), _text(value) if isinstance(value, bytes) else value


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
