"""Queues in the stand-in's durable storage: one object a message, so that a send or a settlement is one write.

A queue is named by its path, dead-letter suffix included.
"""

from collections import deque
from contextlib import AbstractContextManager
from dataclasses import replace

import msgspec

from infra.local.standin.service_bus.model import Message
from infra.local.standin.storage import Storage

_MESSAGES = "service_bus/messages/"
_IDS = "service_bus/ids/"
_NUMBERS = "service_bus/numbers"
_REMEMBERED = 20_000  # messages; the oldest are forgotten


class QueueStore:
    """Where queues write their changes through to. `seen` has what was stored: (queue, AMQP encoding)."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.seen: deque[tuple[str, bytes]] = deque(maxlen=_REMEMBERED)

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside become durable together."""
        return self._storage.transaction()

    def save(self, queue: str, message: Message) -> None:
        """Store a new or changed message; locks are not stored."""
        if not message.delivery_count:
            self.seen.append((queue, message.incoming.payload))
        text = msgspec.json.encode(replace(message, lock=None)).decode()
        self._storage.put(_MESSAGES + queue, _key(message.sequence_number), text)

    def remove(self, queue: str, sequence_number: int) -> None:
        """Forget a message."""
        self._storage.delete(_MESSAGES + queue, _key(sequence_number))

    def load(self, queue: str) -> list[Message]:
        """The messages kept."""
        return [msgspec.json.decode(text, type=Message) for _, text in self._storage.load(_MESSAGES + queue)]

    def remember_id(self, queue: str, message_id: str, at: float) -> None:
        """Note a message id for duplicate detection."""
        self._storage.put(_IDS + queue, message_id, repr(at))

    def forget_id(self, queue: str, message_id: str) -> None:
        """Forget a message id whose window is over."""
        self._storage.delete(_IDS + queue, message_id)

    def ids(self, queue: str) -> list[tuple[str, float]]:
        """The message ids noted, oldest first."""
        noted = [(message_id, float(at)) for message_id, at in self._storage.load(_IDS + queue)]
        return sorted(noted, key=lambda one: one[1])

    def note_number(self, queue: str, number: int) -> None:
        """Note the last sequence number given out."""
        self._storage.put(_NUMBERS, queue, str(number))

    def last_number(self, queue: str) -> int:
        """The last sequence number given out."""
        return int(self._storage.kept(_NUMBERS, queue, lambda: "0"))


def _key(sequence_number: int) -> str:
    return f"{sequence_number:020d}"
