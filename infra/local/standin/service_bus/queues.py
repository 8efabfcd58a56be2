"""The semantics of a Service Bus queue, without protocol, I/O or clock: every method is told the time.

Sources: learn.microsoft.com, service-bus-messaging: message-transfers-locks-settlement, message-sessions (with its
table of delivery counts), message-sequencing, duplicate-detection, service-bus-dead-letter-queues, message-expiration.

Invariants, which tests/unit holds against a model: an acknowledged message is in exactly one of scheduled, ready,
locked, dead-lettered, until it is completed or expires; while locked it goes to nobody else; ready messages leave in
the order of their sequence numbers, so that an abandoned one comes before later ones.
"""

import heapq
import itertools
from collections import OrderedDict
from dataclasses import replace
from uuid import UUID, uuid4

from infra.local.standin.service_bus import errors
from infra.local.standin.service_bus.model import (
    DEAD_LETTER_SUFFIX,
    DeathCertificate,
    Incoming,
    Message,
    MessageLock,
    QueueSettings,
    SessionLock,
)
from infra.local.standin.service_bus.persistence import QueueStore

_MAX_ID_LENGTH = 128  # of message and session ids: learn.microsoft.com, service-bus-quotas
_NUMBERS_PER_RESERVATION = 1000
_NO_SESSION = ""


class Queue:
    """One queue with, unless it is one itself, its dead-letter sub-queue, and with what the store kept of both.

    Locks are not kept: what was locked is ready again.
    """

    def __init__(self, settings: QueueSettings, store: QueueStore, *, is_dead_letter_queue: bool = False) -> None:
        self.settings = settings
        self.path = settings.name + (DEAD_LETTER_SUFFIX if is_dead_letter_queue else "")
        self.dead_letters = None if is_dead_letter_queue else Queue(_grave(settings), store, is_dead_letter_queue=True)
        self.messages: dict[int, Message] = {}
        self.sessions: dict[str, SessionLock] = {}
        self._store = store
        self._ready: dict[str, list[int]] = {}  # heaps of sequence numbers by session
        self._locked: dict[UUID, Message] = {}
        self._last_number = self._reserved = store.reserved(self.path)
        self._deadlines: list[tuple[float, int, Message | SessionLock]] = []
        self._tie = itertools.count()
        self._ids = OrderedDict(store.ids(self.path))  # message ids of the duplicate detection's window, and when
        for message in store.load(self.path):
            self._place(message)

    # ---- senders

    def send(self, batch: list[Incoming], now: float) -> list[int]:
        """Enqueue or schedule all messages or none. Gives their sequence numbers; a duplicate is dropped and has 0."""
        for incoming in batch:
            self._check(incoming)
        with self._store.transaction():
            return [self._enqueue(incoming, now) for incoming in batch]

    def _check(self, incoming: Incoming) -> None:
        if self.settings.requires_session and not incoming.session_id:
            raise errors.not_allowed(
                "The SessionId was not set on a message, and it cannot be sent to the entity. Entities that have "
                "session support enabled can only receive messages that have the SessionId set to a valid value."
            )
        for identifier in (incoming.message_id, incoming.session_id):
            if identifier is not None and len(identifier) > _MAX_ID_LENGTH:
                raise errors.bad_argument(f"An id must not be longer than {_MAX_ID_LENGTH} characters.")

    def _enqueue(self, incoming: Incoming, now: float) -> int:
        if self._is_duplicate(incoming.message_id, now):
            return 0
        scheduled = incoming.scheduled_at is not None and incoming.scheduled_at > now
        start = incoming.scheduled_at if scheduled and incoming.scheduled_at is not None else now
        lives = [ttl for ttl in (incoming.ttl, self.settings.default_ttl) if ttl is not None]
        message = Message(
            sequence_number=self._next_number(),
            incoming=incoming,
            enqueued_at=start,
            expires_at=start + min(lives) if lives else None,
            scheduled=scheduled,
        )
        self._store.save(self.path, message)
        self._place(message)
        return message.sequence_number

    def _is_duplicate(self, message_id: str | None, now: float) -> bool:
        window = self.settings.duplicate_detection_window
        if window is None or message_id is None:
            return False
        while self._ids and next(iter(self._ids.values())) <= now - window:
            self._store.forget_id(self.path, self._ids.popitem(last=False)[0])
        if message_id in self._ids:
            return True
        self._ids[message_id] = now
        self._store.remember_id(self.path, message_id, now)
        return False

    def _next_number(self) -> int:
        self._last_number += 1
        if self._last_number > self._reserved:
            # numbers are reserved ahead, so that a restart never gives one out twice and sends stay cheap
            self._reserved = self._last_number + _NUMBERS_PER_RESERVATION
            self._store.reserve(self.path, self._reserved)
        return self._last_number

    # ---- receivers

    def receive(self, now: float, session: SessionLock | None = None) -> Message | None:
        """Lock and give the next message, or None when none is ready. The message carries its lock."""
        self._require_session(session)
        message = self._pop(session)
        if message is not None:
            message.lock = MessageLock(uuid4(), now + self.settings.lock_duration, session)
            self._locked[message.lock.token] = message
            if session is None:
                self._remind(message.lock.until, message)
        return message

    def complete(self, token: UUID, session: SessionLock | None = None) -> Message:
        """The message is done with; it is removed."""
        message = self._unlock(token, session)
        self._forget(message.sequence_number)
        return message

    def abandon(self, token: UUID, session: SessionLock | None = None) -> Message:
        """The delivery failed: the message is ready again, or dead-lettered after its last permitted delivery."""
        message = self._unlock(token, session)
        self._failed(message)
        return message

    def release(self, token: UUID, session: SessionLock | None = None) -> Message:
        """The message was not looked at: ready again without counting a delivery (AMQP 1.0, 3.4.4)."""
        message = self._unlock(token, session)
        self._place(message)
        return message

    def dead_letter(self, token: UUID, death: DeathCertificate, session: SessionLock | None = None) -> Message:
        """Move the message to the dead-letter sub-queue."""
        if self.dead_letters is None:
            raise errors.not_allowed("A message in a dead-letter queue cannot be dead-lettered.")
        message = self._unlock(token, session)
        self._bury(message, death)
        return message

    def renew(self, token: UUID, now: float) -> float:
        """Lock the message for another lock duration from now; gives the new end."""
        message = self._locked.get(token)
        if message is None or message.lock is None or message.lock.session is not None:
            raise errors.message_lock_lost()
        message.lock = replace(message.lock, until=now + self.settings.lock_duration)
        self._remind(message.lock.until, message)
        return message.lock.until

    def peek(self, first: int, count: int, session_id: str | None = None) -> list[Message]:
        """Up to `count` messages from sequence number `first` on, whatever their state."""
        numbers = sorted(
            number
            for number, message in self.messages.items()
            if number >= first and session_id in (None, message.incoming.session_id)
        )
        return [self.messages[number] for number in numbers[:count]]

    # ---- sessions

    def accept_session(self, session_id: str, now: float) -> SessionLock:
        """Lock the session, which need not have messages."""
        if session_id in self.sessions:
            raise errors.session_cannot_be_locked(session_id)
        session = SessionLock(session_id, now + self.settings.lock_duration)
        self.sessions[session_id] = session
        self._remind(session.until, session)
        return session

    def accept_next_session(self, now: float) -> SessionLock | None:
        """Lock the session whose ready message is the oldest; None when every such session is locked."""
        waiting = [(self._first(heap), name) for name, heap in self._ready.items() if name not in self.sessions]
        candidates = [(first, name) for first, name in waiting if first is not None]
        return self.accept_session(min(candidates)[1], now) if candidates else None

    def renew_session(self, session_id: str, now: float) -> float:
        """Lock the session for another lock duration from now; gives the new end."""
        session = self.held_session(session_id)
        session.until = now + self.settings.lock_duration
        self._remind(session.until, session)
        return session.until

    def held_session(self, session_id: str) -> SessionLock:
        """The lock in force on a session."""
        session = self.sessions.get(session_id)
        if session is None:
            raise errors.session_lock_lost(session_id)
        return session

    def release_session(self, session: SessionLock) -> None:
        """The receiver closed: its messages are ready again and count no delivery."""
        if self.sessions.get(session.session_id) is session:
            for message in self._end_session(session):
                self._place(message)

    # ---- time

    def advance(self, now: float) -> list[SessionLock]:
        """Let happen what is due: locks end, scheduled messages start, messages expire. Gives the sessions lost."""
        lost = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, due = heapq.heappop(self._deadlines)
            if isinstance(due, SessionLock):
                if due.until <= now and self.sessions.get(due.session_id) is due:
                    lost.append(due)
                    for message in self._end_session(due):
                        self._failed(message)
            elif self.messages.get(due.sequence_number) is due:
                self._due(due, now)
        if self.dead_letters is not None:
            self.dead_letters.advance(now)
        return lost

    def next_deadline(self) -> float | None:
        """When `advance` has something to do next; may be early."""
        deadlines = [self._deadlines[0][0]] if self._deadlines else []
        if self.dead_letters is not None and (inner := self.dead_letters.next_deadline()) is not None:
            deadlines.append(inner)
        return min(deadlines, default=None)

    def _due(self, message: Message, now: float) -> None:
        if message.lock is not None:
            if message.lock.session is None and message.lock.until <= now:
                del self._locked[message.lock.token]
                message.lock = None
                self._failed(message)
        elif message.scheduled and message.enqueued_at <= now:
            self._activate(message)
        if message.expires_at is not None and message.expires_at <= now and message.lock is None:
            self._expire(message)

    def _activate(self, message: Message) -> None:
        # "appended to the queue as if it had been enqueued at the current instant, which includes assigning a new
        # SequenceNumber" (message-sequencing)
        with self._store.transaction():
            self._forget(message.sequence_number)
            message.sequence_number = self._next_number()
            message.scheduled = False
            self._store.save(self.path, message)
        self._place(message)

    def _expire(self, message: Message) -> None:
        if self.messages.get(message.sequence_number) is not message:
            return
        if self.settings.dead_letter_on_expiry and self.dead_letters is not None:
            self._bury(message, DeathCertificate("TTLExpiredException", "The message expired and was dead lettered."))
        else:
            self._forget(message.sequence_number)

    # ---- the places where a message can be

    def _place(self, message: Message) -> None:
        """Make a message that is not locked wait for its time or for a receiver."""
        message.lock = None
        self.messages[message.sequence_number] = message
        if message.scheduled:
            self._remind(message.enqueued_at, message)
        else:
            heapq.heappush(self._ready.setdefault(self._lane(message), []), message.sequence_number)
        if message.expires_at is not None:
            self._remind(message.expires_at, message)

    def _pop(self, session: SessionLock | None) -> Message | None:
        lane = session.session_id if session is not None else _NO_SESSION
        heap = self._ready.get(lane)
        if heap is None or self._first(heap) is None:
            self._ready.pop(lane, None)
            return None
        return self.messages[heapq.heappop(heap)]

    def _first(self, heap: list[int]) -> int | None:
        while heap and heap[0] not in self.messages:  # removed meanwhile by expiry
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _lane(self, message: Message) -> str:
        return message.incoming.session_id or _NO_SESSION if self.settings.requires_session else _NO_SESSION

    def _failed(self, message: Message) -> None:
        message.delivery_count += 1
        limit = self.settings.max_delivery_count
        if limit is not None and message.delivery_count >= limit:
            text = f"Message could not be consumed after {message.delivery_count} delivery attempts."
            self._bury(message, DeathCertificate("MaxDeliveryCountExceeded", text))
        else:
            self._store.save(self.path, message)
            self._place(message)

    def _bury(self, message: Message, death: DeathCertificate) -> None:
        if self.dead_letters is None:
            raise AssertionError("a dead-letter queue buries nothing")
        with self._store.transaction():
            self._forget(message.sequence_number)
            message.death = death
            message.expires_at = None  # what is dead does not expire (service-bus-dead-letter-queues)
            self._store.save(self.dead_letters.path, message)
        self.dead_letters._place(message)  # noqa: SLF001 - the other half of the same queue

    def _forget(self, sequence_number: int) -> None:
        del self.messages[sequence_number]
        self._store.remove(self.path, sequence_number)
        if len(self._deadlines) > 1000 + 2 * len(self.messages):  # reminders of what is gone are swept now and then
            self._deadlines = [entry for entry in self._deadlines if self._still_there(entry[2])]
            heapq.heapify(self._deadlines)

    def _still_there(self, subject: Message | SessionLock) -> bool:
        if isinstance(subject, SessionLock):
            return self.sessions.get(subject.session_id) is subject
        return self.messages.get(subject.sequence_number) is subject

    def _unlock(self, token: UUID, session: SessionLock | None) -> Message:
        self._require_session(session)
        message = self._locked.get(token)
        if message is None or message.lock is None or message.lock.session is not session:
            # on an entity with sessions only their locks count (message-transfers-locks-settlement)
            raise errors.message_lock_lost() if session is None else errors.session_lock_lost(session.session_id)
        del self._locked[token]
        message.lock = None
        return message

    def _require_session(self, session: SessionLock | None) -> None:
        if session is not None and self.sessions.get(session.session_id) is not session:
            raise errors.session_lock_lost(session.session_id)

    def _end_session(self, session: SessionLock) -> list[Message]:
        del self.sessions[session.session_id]
        messages = [m for m in self._locked.values() if m.lock is not None and m.lock.session is session]
        for message in messages:
            if message.lock is not None:
                del self._locked[message.lock.token]
                message.lock = None
        return messages

    def _remind(self, at: float, subject: Message | SessionLock) -> None:
        heapq.heappush(self._deadlines, (at, next(self._tie), subject))


def _grave(settings: QueueSettings) -> QueueSettings:
    # sessions are not kept up in a dead-letter queue, nothing expires there and nothing is counted
    return QueueSettings(name=settings.name, lock_duration=settings.lock_duration, max_delivery_count=None)
