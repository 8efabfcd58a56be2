"""Service Bus messages as the worker sees them: the datum and the trigger metadata.

Source: ServiceBusTriggerBindingStrategy.cs (Azure/azure-sdk-for-net) for names and values, `ToRpc` in the host's
GrpcMessageConversionExtensions.cs for their kinds: strings as they are, everything else as JSON; arrays of strings
without their empty entries, since the Python worker does not declare IncludeEmptyEntriesInMessagePayload.
"""

import base64
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from proton import Message, symbol

from infra.local.host.amqp import Received
from infra.local.host.worker import Datum

_LATEST = "9999-12-31T23:59:59.9999999"  # DateTimeOffset.MaxValue: a message that never expires
_TIMES = frozenset({"ExpiresAtUtc", "ExpiresAt", "EnqueuedTimeUtc", "EnqueuedTime"})
_EMPTY_WHEN_MISSING = ("ApplicationProperties", "UserProperties")


def message_datum(received: Received, *, binary: bool) -> Any:
    """The body of one message, as text unless the binding's data type is binary."""
    body = _body(received.message)
    return Datum(body, "bytes") if binary else Datum(body.decode("utf-8", "replace"), "string")


def message_metadata(received: Received) -> dict[str, Any]:
    """The trigger metadata of one message; fields without a value are left out."""
    return {name: _datum(name, value) for name, value in _fields(received).items() if value is not None}


def batch_datum(batch: list[Received], *, binary: bool) -> Any:
    """The bodies of a batch."""
    bodies = [_body(received.message) for received in batch]
    if binary:
        return Datum(SimpleNamespace(bytes=bodies), "collection_bytes")
    texts = [body.decode("utf-8", "replace") for body in bodies]
    return Datum(SimpleNamespace(string=[text for text in texts if text]), "collection_string")


def batch_metadata(batch: list[Received]) -> dict[str, Any]:
    """The trigger metadata of a batch: each field an array, named with `Array` behind it."""
    rows = [_fields(received) for received in batch]
    metadata: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name == "SequenceNumber":
            metadata[f"{name}Array"] = Datum(SimpleNamespace(sint64=values), "collection_sint64")
        elif name not in _TIMES and all(value is None or isinstance(value, str) for value in values):
            kept = [value for value in values if value]
            metadata[f"{name}Array"] = Datum(SimpleNamespace(string=kept), "collection_string")
        else:
            metadata[f"{name}Array"] = Datum(_json(values), "json")
    return metadata


def typed_in(text: str) -> tuple[Any, dict[str, Any]]:
    """Datum and metadata of a run by hand: a message of nothing but a body."""
    empty = Datum("{}", "json")
    return Datum(text, "string"), {**dict.fromkeys(_EMPTY_WHEN_MISSING, empty), "DeliveryCount": Datum("0", "json")}


def details(metadata: dict[str, Any]) -> str:
    """What the log shows of a message."""
    names = ("MessageId", "SequenceNumber", "DeliveryCount", "EnqueuedTimeUtc", "SessionId")
    return ", ".join(f"{name}: {metadata[name].value.strip('"') if name in metadata else '(null)'}" for name in names)


def locked_until(received: Received) -> float:
    """When the message's lock ends, in seconds since the epoch; 0 when the message does not say."""
    return float(_annotation(received.message, "x-opt-locked-until", 0)) / 1000


def _fields(received: Received) -> dict[str, Any]:
    message = received.message
    enqueued = _annotation(message, "x-opt-enqueued-time", 0) / 1000
    properties = {str(name): _plain(value) for name, value in (message.properties or {}).items()}
    expires = enqueued + message.ttl if message.ttl else None
    return {
        "DeliveryCount": message.delivery_count + 1,  # the header counts failed deliveries only
        "DeadLetterSource": _annotation(message, "x-opt-deadletter-source", None),
        "LockToken": str(received.lock_token),
        "ExpiresAtUtc": _moment(expires),
        "ExpiresAt": f"{_moment(expires)}+00:00",
        "EnqueuedTimeUtc": _moment(enqueued),
        "EnqueuedTime": f"{_moment(enqueued)}+00:00",
        "MessageId": _text(message.id),
        # proton makes the symbol "None" of a missing content type
        "ContentType": _text(message.content_type) if message.content_type != "None" else None,
        "ReplyTo": _text(message.reply_to),
        "SequenceNumber": _annotation(message, "x-opt-sequence-number", 0),
        "To": _text(message.address),
        "Subject": _text(message.subject),
        "Label": _text(message.subject),
        "CorrelationId": _text(message.correlation_id),
        "ApplicationProperties": properties,
        "UserProperties": properties,
        "SessionId": _text(message.group_id),
        "ReplyToSessionId": _text(message.reply_to_group_id),
        "PartitionKey": _annotation(message, "x-opt-partition-key", None),
        "TransactionPartitionKey": _annotation(message, "x-opt-via-partition-key", None),
    }


def _datum(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return Datum(f'"{value}"', "json") if name in _TIMES else Datum(value, "string")
    return Datum(_json(value), "json")


def _body(message: Message) -> bytes:
    body = message.body
    if body is None:
        return b""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    return str(body).encode()


def _annotation(message: Message, name: str, default: Any) -> Any:
    return (message.annotations or {}).get(symbol(name), default)


def _text(value: object) -> str | None:
    return str(value) if value not in (None, "") else None


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return _LATEST
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds").rstrip("0").rstrip(".")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=_plain)
