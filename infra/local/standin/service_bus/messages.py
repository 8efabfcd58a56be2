"""Service Bus's view of an encoded AMQP message: what the broker reads from it and what it adds when delivering.

Sources: AMQP 1.0 part 3 (message format), learn.microsoft.com service-bus-amqp-protocol-guide (annotations,
application properties of dead letters), and how the SDK reads them (`_common/message.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.local.standin.service_bus import codec
from infra.local.standin.service_bus.codec import MalformedError
from infra.local.standin.service_bus.model import Incoming, Message

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES, DATA = range(0x70, 0x76)
_FOOTER = 0x78
_LIST, _MAP = 0xD0, 0xD1
_NULL = b"\x40"

_SCHEDULED = "x-opt-scheduled-enqueue-time"
_BROKERS = frozenset(  # annotations that only the broker sets
    (
        "x-opt-enqueued-time",
        "x-opt-sequence-number",
        "x-opt-enqueue-sequence-number",
        "x-opt-locked-until",
        "x-opt-message-state",
    )
)
_STATE_SCHEDULED = 2  # ServiceBusMessageState in the SDK
_CORRELATION_KEYS = ("correlation_id", "Diagnostic-Id")


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its descriptor code, where it starts, where its value starts, where it ends."""

    code: int
    start: int
    value: int
    end: int


def sections(payload: bytes) -> Iterator[Section]:
    """The sections of an encoded message in order. Raises MalformedError."""
    at = 0
    while at < len(payload):
        if payload[at] != 0:
            raise MalformedError("a message consists of described sections")
        value = codec.skip(payload, at + 1)
        code = codec.read(payload, at + 1)
        end = codec.skip(payload, value)
        if not isinstance(code, int) or not HEADER <= code <= _FOOTER:
            raise MalformedError(f"unknown section {code!r}")
        yield Section(code, at, value, end)
        at = end


def parse(payload: bytes) -> Incoming:
    """What the broker needs to know of a message. Raises MalformedError."""
    header: list[Any] = []
    properties: list[Any] = []
    annotations: dict[Any, Any] = {}
    application_properties: dict[Any, Any] = {}
    for section in sections(payload):
        match section.code:
            case 0x70:
                header = _list(payload, section.value)
            case 0x72:
                annotations = _map(payload, section.value)
            case 0x73:
                properties = _list(payload, section.value)
            case 0x74:
                application_properties = _map(payload, section.value)
            case _:
                pass
    ttl = _at(header, 2)
    scheduled = annotations.get(_SCHEDULED)
    correlation = _at(properties, 5)
    for key in _CORRELATION_KEYS:
        correlation = correlation or application_properties.get(key)
    return Incoming(
        payload=payload,
        message_id=_identifier(_at(properties, 0)),
        session_id=_identifier(_at(properties, 10)),
        correlation_id=_identifier(correlation) or "",
        ttl=ttl / 1000 if isinstance(ttl, int) else None,
        scheduled_at=scheduled / 1000 if isinstance(scheduled, int) else None,
    )


def unpack_batch(payload: bytes) -> list[bytes]:
    """The messages of a batch: message format 0x80013700, each message encoded in a data section of its own."""
    messages = [codec.read(payload, s.value) for s in sections(payload) if s.code == DATA]
    if not messages or not all(isinstance(message, bytes) for message in messages):
        raise MalformedError("a batch consists of data sections")
    return messages


def render(message: Message) -> bytes:
    """The message as it is delivered: the sender's sections with the broker's header and annotations."""
    payload = message.incoming.payload
    header: list[bytes] = []
    annotations: list[bytes] = []
    application_properties: list[bytes] = []
    before: list[bytes] = []
    after: list[bytes] = []
    for section in sections(payload):
        raw = payload[section.start : section.end]
        if section.code == HEADER:
            header = _raw_items(payload, section.value)
        elif section.code == ANNOTATIONS:
            annotations = _without(_raw_items(payload, section.value), _BROKERS)
        elif section.code == APPLICATION_PROPERTIES:
            application_properties = _raw_items(payload, section.value)
        elif section.code == PROPERTIES:
            before.append(raw)
        elif section.code != DELIVERY_ANNOTATIONS:  # meant for the broker alone
            after.append(raw)
    header = [*header, *[_NULL] * 4][:4]
    header.append(codec.uint(message.delivery_count))
    annotations += _broker_annotations(message)
    if message.death is not None:
        application_properties = _without(application_properties, _GRAVE) + _epitaph(message)
    parts = [
        codec.described(HEADER, codec.compound(_LIST, header)),
        codec.described(ANNOTATIONS, codec.compound(_MAP, annotations)),
        *before,
    ]
    if application_properties:
        parts.append(codec.described(APPLICATION_PROPERTIES, codec.compound(_MAP, application_properties)))
    return b"".join(parts + after)


def _broker_annotations(message: Message) -> list[bytes]:
    symbol = codec.symbol
    annotations = [
        symbol("x-opt-enqueued-time"),
        codec.timestamp(message.enqueued_at),
        symbol("x-opt-sequence-number"),
        codec.long(message.sequence_number),
        symbol("x-opt-message-state"),
        codec.int32(_STATE_SCHEDULED if message.scheduled else 0),
    ]
    if message.lock is not None:
        until = message.lock.until if message.lock.session is None else message.lock.session.until
        annotations += [symbol("x-opt-locked-until"), codec.timestamp(until)]
    return annotations


_REASON, _DESCRIPTION = "DeadLetterReason", "DeadLetterErrorDescription"
_GRAVE = frozenset((_REASON, _DESCRIPTION))


def _epitaph(message: Message) -> list[bytes]:
    if message.death is None:
        return []
    pairs = ((_REASON, message.death.reason), (_DESCRIPTION, message.death.description))
    return [part for key, value in pairs if value for part in (codec.text(key), codec.text(value))]


def _list(payload: bytes, at: int) -> list[Any]:
    return [codec.read(payload, position) for position in codec.items(payload, at)]


def _map(payload: bytes, at: int) -> dict[Any, Any]:
    flat = _list(payload, at)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _raw_items(payload: bytes, at: int) -> list[bytes]:
    return [payload[position : codec.skip(payload, position)] for position in codec.items(payload, at)]


def _without(raw: list[bytes], keys: frozenset[str]) -> list[bytes]:
    pairs = zip(raw[::2], raw[1::2], strict=True)
    return [part for key, value in pairs if codec.read(key, 0) not in keys for part in (key, value)]


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def _identifier(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
