"""Service Bus messages as the worker sees them: the datum and the trigger metadata.

Source: ServiceBusTriggerBindingStrategy.cs (Azure/azure-sdk-for-net) for names and values, `ToRpc` in the host's
GrpcMessageConversionExtensions.cs for their kinds: strings as they are, everything else as JSON; arrays of strings
without their empty entries, since the Python worker does not declare IncludeEmptyEntriesInMessagePayload.
"""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.amqp import AmqpMessageBodyType

from infra.local.host.worker import Datum

_LATEST = "9999-12-31T23:59:59.9999999"  # DateTimeOffset.MaxValue: a message that never expires
_TIMES = frozenset({"ExpiresAtUtc", "ExpiresAt", "EnqueuedTimeUtc", "EnqueuedTime"})


def message_datum(message: ServiceBusReceivedMessage) -> Any:
    """The body of one message, as text."""
    return Datum(_body(message), "string")


def message_metadata(message: ServiceBusReceivedMessage) -> dict[str, Any]:
    """The trigger metadata of one message; fields without a value are left out."""
    return {name: _datum(name, value) for name, value in _fields(message).items() if value is not None}


def batch_datum(batch: list[ServiceBusReceivedMessage]) -> Any:
    """The bodies of a batch."""
    return Datum(SimpleNamespace(string=[body for message in batch if (body := _body(message))]), "collection_string")


def batch_metadata(batch: list[ServiceBusReceivedMessage]) -> dict[str, Any]:
    """The trigger metadata of a batch: each field an array, named with `Array` behind it."""
    rows = [_fields(message) for message in batch]
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


def details(metadata: dict[str, Any]) -> str:
    """What the log shows of a message."""
    names = ("MessageId", "SequenceNumber", "DeliveryCount", "EnqueuedTimeUtc", "SessionId")
    return ", ".join(f"{name}: {metadata[name].value.strip('"') if name in metadata else '(null)'}" for name in names)


def properties(message: ServiceBusReceivedMessage) -> dict[str, Any]:
    """The application properties, as text where the SDK has bytes."""
    return {_plain(name): _plain(value) for name, value in (message.application_properties or {}).items()}


def _fields(message: ServiceBusReceivedMessage) -> dict[str, Any]:
    enqueued, expires = _moment(message.enqueued_time_utc), _moment(message.expires_at_utc)
    application_properties = properties(message)
    return {
        "DeliveryCount": (message.delivery_count or 0) + 1,  # the header counts failed deliveries only
        "DeadLetterSource": message.dead_letter_source,
        "LockToken": str(message.lock_token),
        "ExpiresAtUtc": expires,
        "ExpiresAt": f"{expires}+00:00",
        "EnqueuedTimeUtc": enqueued,
        "EnqueuedTime": f"{enqueued}+00:00",
        "MessageId": message.message_id,
        "ContentType": message.content_type,
        "ReplyTo": message.reply_to,
        "SequenceNumber": message.sequence_number,
        "To": message.to,
        "Subject": message.subject,
        "Label": message.subject,
        "CorrelationId": message.correlation_id,
        "ApplicationProperties": application_properties,
        "UserProperties": application_properties,
        "SessionId": message.session_id,
        "ReplyToSessionId": message.reply_to_session_id,
        "PartitionKey": message.partition_key,
    }


def _datum(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return Datum(f'"{value}"', "json") if name in _TIMES else Datum(value, "string")
    return Datum(_json(value), "json")


def _body(message: ServiceBusReceivedMessage) -> str:
    body = message.body
    raw = b"".join(body) if message.body_type is AmqpMessageBodyType.DATA else str(body).encode()
    return raw.decode("utf-8", "replace")


def _moment(moment: datetime | None) -> str:
    if moment is None:
        return _LATEST
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds").rstrip("0").rstrip(".")


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)
