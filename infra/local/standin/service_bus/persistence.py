"""Queues in the stand-in's durable storage: one object a message, so that a send or a settlement is one write."""

import base64
import json
from collections import deque
from contextlib import AbstractContextManager
from typing import Any

from infra.local.standin.service_bus.model import DeathCertificate, Incoming, Message
from infra.local.standin.service_bus.queues import Queue
from infra.local.standin.storage import Storage

_MESSAGES = "service_bus/messages/"
_NUMBERS = "service_bus/numbers"
_IDS = "service_bus/ids/"
_SESSION_STATES = "service_bus/session_states/"
_REMEMBERED = 20_000  # messages; the oldest are forgotten


class DurableQueueStore:
    """A `QueueStore` over `Storage`. Remembers what it was given to store in `seen`: (queue, AMQP encoding)."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.seen: deque[tuple[str, bytes]] = deque(maxlen=_REMEMBERED)

    def transaction(self) -> AbstractContextManager[None]:
        """See QueueStore."""
        return self._storage.transaction()

    def save(self, queue: str, message: Message) -> None:
        """See QueueStore."""
        if not message.delivery_count:
            self.seen.append((queue, message.incoming.payload))
        self._storage.put(_MESSAGES + queue, _key(message.sequence_number), _encode(message))

    def remove(self, queue: str, sequence_number: int) -> None:
        """See QueueStore."""
        self._storage.delete(_MESSAGES + queue, _key(sequence_number))

    def reserve(self, queue: str, sequence_number: int) -> None:
        """See QueueStore."""
        self._storage.put(_NUMBERS, queue, str(sequence_number))

    def remember_id(self, queue: str, message_id: str, at: float) -> None:
        """See QueueStore."""
        self._storage.put(_IDS + queue, message_id, repr(at))

    def forget_id(self, queue: str, message_id: str) -> None:
        """See QueueStore."""
        self._storage.delete(_IDS + queue, message_id)

    def save_session_state(self, queue: str, session_id: str, state: bytes | None) -> None:
        """See QueueStore."""
        if state is None:
            self._storage.delete(_SESSION_STATES + queue, session_id)
        else:
            self._storage.put(_SESSION_STATES + queue, session_id, base64.b64encode(state).decode())

    def load(self, queue: Queue) -> None:
        """Fill a new queue and its dead-letter sub-queue with what was kept."""
        path = queue.path
        queue.restore(
            self._messages(path),
            reserved=int(dict(self._storage.load(_NUMBERS)).get(path, "0")),
            seen=[(message_id, float(at)) for message_id, at in self._storage.load(_IDS + path)],
            session_states=[
                (key, base64.b64decode(state)) for key, state in self._storage.load(_SESSION_STATES + path)
            ],
        )
        if queue.dead_letters is not None:
            queue.dead_letters.restore(self._messages(queue.dead_letters.path))

    def _messages(self, path: str) -> list[Message]:
        return [_decode(int(key), value) for key, value in self._storage.load(_MESSAGES + path)]


def _key(sequence_number: int) -> str:
    return f"{sequence_number:020d}"


def _encode(message: Message) -> str:
    incoming, death = message.incoming, message.death
    return json.dumps(
        {
            "payload": base64.b64encode(incoming.payload).decode(),
            "message_id": incoming.message_id,
            "session_id": incoming.session_id,
            "correlation_id": incoming.correlation_id,
            "enqueued_at": message.enqueued_at,
            "expires_at": message.expires_at,
            "scheduled": message.scheduled,
            "delivery_count": message.delivery_count,
            "death": [death.reason, death.description] if death else None,
        }
    )


def _decode(sequence_number: int, text: str) -> Message:
    fields: dict[str, Any] = json.loads(text)
    death = fields["death"]
    return Message(
        sequence_number=sequence_number,
        incoming=Incoming(
            payload=base64.b64decode(fields["payload"]),
            message_id=fields["message_id"],
            session_id=fields["session_id"],
            correlation_id=fields["correlation_id"],
        ),
        enqueued_at=fields["enqueued_at"],
        expires_at=fields["expires_at"],
        scheduled=fields["scheduled"],
        delivery_count=fields["delivery_count"],
        death=DeathCertificate(*death) if death else None,
    )
