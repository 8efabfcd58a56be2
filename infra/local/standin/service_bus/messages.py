"""Service Bus's view of an encoded AMQP message: what the broker reads from it and what it adds when delivering.

What the sender wrote into properties and body stays as it is, byte by byte. Sources: AMQP 1.0 part 3 (message format),
learn.microsoft.com service-bus-amqp-protocol-guide (annotations, application properties of dead letters), and how the
SDK reads them (`_common/message.py`).
"""

from dataclasses import dataclass
from typing import Any

from proton import Data, DataException, Described, int32, symbol, timestamp, uint, ulong

from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.model import Incoming, Message

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES, DATA = range(0x70, 0x76)
_FOOTER = 0x78
_KINDS = {HEADER: list, ANNOTATIONS: dict, PROPERTIES: list, APPLICATION_PROPERTIES: dict, DATA: memoryview}

_BROKERS = {  # annotations that only the broker sets
    "x-opt-enqueued-time",
    "x-opt-sequence-number",
    "x-opt-enqueue-sequence-number",
    "x-opt-locked-until",
    "x-opt-message-state",
}
_STATE_SCHEDULED = 2  # ServiceBusMessageState in the SDK


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its descriptor code, its value, its encoding. Binaries in the value are views of `data`."""

    code: int
    value: Any
    raw: bytes
    data: Data


def sections(payload: bytes) -> list[Section]:
    """The sections of an encoded message in order. Raises Refusal."""
    found = []
    while payload:
        data = Data()
        try:
            size = data.decode(payload)
            data.rewind()
            data.next()
            section = data.get_object()
        except (DataException, TypeError, ValueError) as error:
            raise _malformed(str(error)) from error
        if not isinstance(section, Described) or section.descriptor not in range(HEADER, _FOOTER + 1):
            raise _malformed("a message consists of described sections")
        code = int(section.descriptor)
        if not isinstance(section.value, _KINDS.get(code, object)):
            raise _malformed(f"section {code:#x} is of another type")
        found.append(Section(code, section.value, payload[:size], data))
        payload = payload[size:]
    return found


def encode(code: int, value: Any) -> bytes:
    """A section."""
    data = Data()
    data.put_object(Described(ulong(code), value))
    return bytes(data.encode())


def parse(payload: bytes) -> Incoming:
    """What the broker needs to know of a message. Raises Refusal."""
    found = sections(payload)
    values = {section.code: section.value for section in found}
    header, properties = _padded(values.get(HEADER), 3), _padded(values.get(PROPERTIES), 11)
    application = values.get(APPLICATION_PROPERTIES, {})
    correlation = properties[5] or application.get("correlation_id") or application.get("Diagnostic-Id")
    ttl, scheduled = header[2], values.get(ANNOTATIONS, {}).get("x-opt-scheduled-enqueue-time")
    return Incoming(
        payload=payload,
        message_id=_identifier(properties[0]),
        session_id=_identifier(properties[10]),
        correlation_id=_identifier(correlation) or "",
        ttl=ttl / 1000 if isinstance(ttl, int) else None,
        scheduled_at=scheduled / 1000 if isinstance(scheduled, int) else None,
    )


def unpack(payload: bytes) -> list[bytes]:
    """The messages in a transfer: one, or those of a batch, each encoded in a data section of its own.

    A batch is told by its transfer's message format, 0x80013700. That is hidden by proton, so a message whose data are
    messages is taken for one here. Raises Refusal.
    """
    parts = [bytes(section.value) for section in sections(payload) if section.code == DATA]
    return parts if parts and all(map(_is_message, parts)) else [payload]


def render(message: Message) -> bytes:
    """The message as it is delivered: the sender's sections with the broker's header and annotations."""
    found = sections(message.incoming.payload)
    values = {section.code: section.value for section in found}
    raw = {section.code: section.raw for section in found}
    annotations = {key: value for key, value in values.get(ANNOTATIONS, {}).items() if key not in _BROKERS}
    annotations[symbol("x-opt-enqueued-time")] = moment(message.enqueued_at)
    annotations[symbol("x-opt-sequence-number")] = message.sequence_number
    annotations[symbol("x-opt-message-state")] = int32(_STATE_SCHEDULED if message.scheduled else 0)
    if message.lock is not None:
        annotations[symbol("x-opt-locked-until")] = moment((message.lock.session or message.lock).until)
    application = raw.get(APPLICATION_PROPERTIES, b"")
    if message.death is not None:
        reasons = {
            "DeadLetterReason": message.death.reason,
            "DeadLetterErrorDescription": message.death.description,
        }
        kept = {key: value for key, value in values.get(APPLICATION_PROPERTIES, {}).items() if key not in reasons}
        reasons = {key: value for key, value in reasons.items() if value}
        application = encode(APPLICATION_PROPERTIES, kept | reasons)
    header = encode(HEADER, [*_padded(values.get(HEADER), 4), uint(message.delivery_count)])
    rest = [section.raw for section in found if section.code >= DATA]
    return b"".join([header, encode(ANNOTATIONS, annotations), raw.get(PROPERTIES, b""), application, *rest])


def moment(seconds: float) -> timestamp:
    """Seconds since the epoch in AMQP."""
    return timestamp(round(seconds * 1000))


def _malformed(text: str) -> Refusal:
    return Refusal(400, text, "amqp:decode-error")


def _is_message(part: bytes) -> bool:
    try:
        return bool(sections(part))
    except Refusal:
        return False


def _padded(values: list[Any] | None, length: int) -> list[Any]:
    """The first fields of a list: those at its end may be left out."""
    return [*(values or []), *[None] * length][:length]


def _identifier(value: Any) -> str | None:
    if value is None:
        return None
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else str(value)
