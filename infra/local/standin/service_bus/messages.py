"""Service Bus's view of an encoded AMQP message: what the broker reads from it and what it adds when delivering.

What the sender wrote into properties and body stays as it is, byte by byte. Sources: AMQP 1.0 part 3 (message format),
learn.microsoft.com service-bus-amqp-protocol-guide (annotations, application properties of dead letters), and how the
SDK reads them (`_common/message.py`).
"""

from dataclasses import dataclass
from typing import Any

from proton import Data, DataException, Described, int32, symbol, timestamp, uint, ulong

from infra.local.standin.service_bus.model import Incoming, Message

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES, DATA = range(0x70, 0x76)
_FOOTER = 0x78

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
_REASON, _DESCRIPTION = "DeadLetterReason", "DeadLetterErrorDescription"


class MalformedError(ValueError):
    """Bytes that are no AMQP message."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its descriptor code, its value, its encoding."""

    code: int
    value: Any
    raw: bytes


def sections(payload: bytes) -> list[Section]:
    """The sections of an encoded message in order. Raises MalformedError."""
    found = []
    while payload:
        data = Data()
        try:
            size = data.decode(payload)
            data.rewind()
            data.next()
            section = _owned(data.get_object())
        except (DataException, TypeError, ValueError) as error:
            raise MalformedError(str(error)) from error
        if not isinstance(section, Described) or section.descriptor not in range(HEADER, _FOOTER + 1):
            raise MalformedError("a message consists of described sections")
        found.append(Section(int(section.descriptor), section.value, payload[:size]))
        payload = payload[size:]
    return found


def encode(code: int, value: Any) -> bytes:
    """A section."""
    data = Data()
    data.put_object(Described(ulong(code), value))
    return bytes(data.encode())


def parse(payload: bytes) -> Incoming:
    """What the broker needs to know of a message. Raises MalformedError."""
    found = {section.code: section.value for section in sections(payload)}
    header, properties = _list(found, HEADER), _list(found, PROPERTIES)
    correlation = _at(properties, 5)
    for key in _CORRELATION_KEYS:
        correlation = correlation or _map(found, APPLICATION_PROPERTIES).get(key)
    ttl = _at(header, 2)
    scheduled = _map(found, ANNOTATIONS).get(_SCHEDULED)
    return Incoming(
        payload=payload,
        message_id=_identifier(_at(properties, 0)),
        session_id=_identifier(_at(properties, 10)),
        correlation_id=_identifier(correlation) or "",
        ttl=ttl / 1000 if isinstance(ttl, int) else None,
        scheduled_at=scheduled / 1000 if isinstance(scheduled, int) else None,
    )


def unpack(payload: bytes) -> list[bytes]:
    """The messages in a transfer: one, or those of a batch, each encoded in a data section of its own.

    A batch is told by its transfer's message format, 0x80013700. That is hidden by proton, so a message whose data are
    messages is taken for one here. Raises MalformedError.
    """
    parts = [section.value for section in sections(payload) if section.code == DATA]
    return parts if parts and all(map(_is_message, parts)) else [payload]


def render(message: Message) -> bytes:
    """The message as it is delivered: the sender's sections with the broker's header and annotations."""
    found = sections(message.incoming.payload)
    values = {section.code: section.value for section in found}
    raw = {section.code: section.raw for section in found}
    header = [*_list(values, HEADER), *[None] * 4][:4]
    annotations = {key: value for key, value in _map(values, ANNOTATIONS).items() if key not in _BROKERS}
    parts = [
        encode(HEADER, [*header, uint(message.delivery_count)]),
        encode(ANNOTATIONS, annotations | _brokers_annotations(message)),
        raw.get(PROPERTIES, b""),
    ]
    if message.death is None:
        parts.append(raw.get(APPLICATION_PROPERTIES, b""))
    else:
        reasons = {_REASON: message.death.reason, _DESCRIPTION: message.death.description}
        kept = {key: value for key, value in _map(values, APPLICATION_PROPERTIES).items() if key not in reasons}
        parts.append(encode(APPLICATION_PROPERTIES, kept | {key: value for key, value in reasons.items() if value}))
    return b"".join(parts + [section.raw for section in found if section.code >= DATA])


def _brokers_annotations(message: Message) -> dict[symbol, Any]:
    annotations = {
        symbol("x-opt-enqueued-time"): _moment(message.enqueued_at),
        symbol("x-opt-sequence-number"): message.sequence_number,
        symbol("x-opt-message-state"): int32(_STATE_SCHEDULED if message.scheduled else 0),
    }
    if message.lock is not None:
        until = message.lock.until if message.lock.session is None else message.lock.session.until
        annotations[symbol("x-opt-locked-until")] = _moment(until)
    return annotations


def _owned(value: Any) -> Any:
    """A copy that outlives proton's buffer, of which binaries are views."""
    match value:
        case Described(descriptor=descriptor, value=inner):
            return Described(descriptor, _owned(inner))
        case memoryview():
            return bytes(value)
        case list():
            return [_owned(part) for part in value]
        case dict():
            return {key: _owned(part) for key, part in value.items()}
        case _:
            return value


def _moment(seconds: float) -> timestamp:
    return timestamp(round(seconds * 1000))


def _is_message(part: object) -> bool:
    try:
        return isinstance(part, bytes) and bool(sections(part))
    except MalformedError:
        return False


def _list(values: dict[int, Any], code: int) -> list[Any]:
    value = values.get(code, [])
    if not isinstance(value, list):
        raise MalformedError("a section is no list")
    return value


def _map(values: dict[int, Any], code: int) -> dict[Any, Any]:
    value = values.get(code, {})
    if not isinstance(value, dict):
        raise MalformedError("a section is no map")
    return value


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def _identifier(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
