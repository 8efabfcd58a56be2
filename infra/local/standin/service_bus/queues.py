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
from uuid import UUID, uuid4

from infra.local.standin.service_bus import errors
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.model import (
    DeathCertificate,
    Incoming,
    Message,
    MessageLock,
    QueueSettings,
    SessionLock,
)
from infra.local.standin.service_bus.persistence import QueueStore

_MAX_ID_LENGTH = 128  # of message and session ids: learn.microsoft.com, service-bus-quotas
_NO_SESSION = ""


class Queue:
    """One queue, or a dead-letter sub-queue, which has no `dead_letters` itself. It begins with what the store kept.

    Locks are not kept: what was locked is ready again. In a dead-letter queue no deliveries are counted: what lies
    there leaves it only by being settled.
    """

    def __init__(self, settings: QueueSettings, store: QueueStore, dead_letters: "Queue | None" = None) -> None:
        self.settings = settings
        self.path = settings.name
        self.dead_letters = dead_letters
        self.messages: dict[int, Message] = {}
        self.sessions: dict[str, SessionLock] = {}
        self._store = store
        self._ready: dict[str, list[int]] = {}  # heaps of sequence numbers by session
        self._locked: dict[UUID, MessageLock] = {}
        self._last_number = store.last_number(self.path)
        self._reminders: list[tuple[float, int, Message | MessageLock | SessionLock]] = []
        self._tie = itertools.count()
        self._ids = OrderedDict(store.ids(self.path))  # message ids of the duplicate detection's window, and when
        for message in store.load(self.path):
            self._place(message)

    # ---- senders

    def send(self, batch: list[Incoming], now: float) -> None:
        """Enqueue or schedule all messages or none; duplicates are dropped."""
        for incoming in batch:
            self._check(incoming)
        with self._store.transaction():
            for incoming in batch:
                if not self._is_duplicate(incoming.message_id, now):
                    self._enqueue(incoming, now)

    def _check(self, incoming: Incoming) -> None:
        if self.settings.requires_session and not incoming.session_id:
            raise errors.not_allowed(
                "The SessionId was not set on a message, and it cannot be sent to the entity. Entities that have "
                "session support enabled can only receive messages that have the SessionId set to a valid value."
            )
        if max(len(incoming.message_id or ""), len(incoming.session_id or "")) > _MAX_ID_LENGTH:
            raise Refusal(400, f"An id must not be longer than {_MAX_ID_LENGTH} characters.")

    def _enqueue(self, incoming: Incoming, now: float) -> None:
        start = max(now, incoming.scheduled_at or now)
        lives = [ttl for ttl in (incoming.ttl, self.settings.default_ttl) if ttl is not None]
        message = Message(
            sequence_number=self._next_number(),
            incoming=incoming,
            enqueued_at=start,
            expires_at=start + min(lives) if lives else None,
            scheduled=start > now,
        )
        self._store.save(self.path, message)
        self._place(message)

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
        self._store.note_number(self.path, self._last_number)
        return self._last_number

    # ---- receivers

    def receive(self, now: float, session: SessionLock | None = None) -> MessageLock | None:
        """Lock the next message, or None when none is ready."""
        if session is not None and not self._is_current(session):
            raise errors.session_lock_lost(session.session_id)
        lane = session.session_id if session is not None else _NO_SESSION
        number = self._first_ready(lane)
        if number is None:
            return None
        heapq.heappop(self._ready[lane])
        message = self.messages[number]
        lock = MessageLock(uuid4(), message, now + self.settings.lock_duration, session)
        message.lock = self._locked[lock.token] = lock
        if session is None:
            self._remind(lock.until, lock)
        return lock

    def settle(
        self, how: str, token: UUID, session: SessionLock | None = None, death: DeathCertificate | None = None
    ) -> None:
        """End a delivery: "complete", "abandon", "release", or "dead_letter" with its reason. Raises Refusal.

        An abandoned message is ready again, or dead-lettered after its last permitted delivery; a released one was not
        looked at, and counts no delivery (AMQP 1.0, 3.4.4).
        """
        if how == "dead_letter" and self.dead_letters is None:
            raise errors.not_allowed("A message in a dead-letter queue cannot be dead-lettered.")
        lock = self._locked.get(token)
        if lock is None or lock.session is not session:
            # on an entity with sessions only their locks count (message-transfers-locks-settlement)
            raise errors.message_lock_lost() if session is None else errors.session_lock_lost(session.session_id)
        message = self._unlock(lock)
        match how:
            case "complete":
                self._forget(message.sequence_number)
            case "abandon":
                self._failed(message)
            case "release":
                self._place(message)
            case "dead_letter":
                self._bury(message, death or DeathCertificate())
            case _:
                raise AssertionError(how)

    def renew(self, token: UUID, now: float) -> float:
        """Lock the message for another lock duration from now; gives the new end."""
        lock = self._locked.get(token)
        if lock is None or lock.session is not None:
            raise errors.message_lock_lost()
        return self._prolong(lock, now)

    def peek(self, first: int, count: int, session_id: str | None = None) -> list[Message]:
        """Up to `count` messages from sequence number `first` on, whatever their state."""
        found = (
            message
            for number, message in self.messages.items()
            if number >= first and session_id in (None, message.incoming.session_id)
        )
        return heapq.nsmallest(count, found, key=lambda message: message.sequence_number)

    # ---- sessions

    def accept_session(self, session_id: str, now: float) -> SessionLock:
        """Lock the session, which need not have messages."""
        if session_id in self.sessions:
            raise Refusal(
                409, f"The requested session '{session_id}' cannot be accepted. It may be locked by another receiver."
            )
        session = self.sessions[session_id] = SessionLock(session_id, now)
        self._prolong(session, now)
        return session

    def accept_next_session(self, now: float) -> SessionLock | None:
        """Lock the session whose ready message is the oldest; None when every such session is locked."""
        waiting = [(self._first_ready(name), name) for name in list(self._ready) if name not in self.sessions]
        candidates = [(first, name) for first, name in waiting if first is not None]
        return self.accept_session(min(candidates)[1], now) if candidates else None

    def renew_session(self, session_id: str, now: float) -> float:
        """Lock the session for another lock duration from now; gives the new end."""
        return self._prolong(self.held_session(session_id), now)

    def held_session(self, session_id: str) -> SessionLock:
        """The lock in force on a session."""
        session = self.sessions.get(session_id)
        if session is None:
            raise errors.session_lock_lost(session_id)
        return session

    def release_session(self, session: SessionLock) -> None:
        """The receiver closed: its messages are ready again and count no delivery."""
        if self._is_current(session):
            for message in self._end_session(session):
                self._place(message)

    # ---- time

    def advance(self, now: float) -> list[SessionLock]:
        """Let happen what is due: locks end, scheduled messages start, messages expire. Gives the sessions lost."""
        lost = []
        while self._reminders and self._reminders[0][0] <= now:
            _, _, subject = heapq.heappop(self._reminders)
            if not self._is_current(subject):
                continue
            if isinstance(subject, Message):
                self._due(subject, now)
            elif subject.until > now:
                pass  # it was renewed
            elif isinstance(subject, MessageLock):
                self._failed(self._unlock(subject))
            else:
                lost.append(subject)
                for message in self._end_session(subject):
                    self._failed(message)
        return lost

    def next_deadline(self) -> float | None:
        """When `advance` has something to do next; may be early."""
        return self._reminders[0][0] if self._reminders else None

    def _due(self, message: Message, now: float) -> None:
        if message.scheduled:
            # "appended to the queue as if it had been enqueued at the current instant, which includes assigning a new
            # SequenceNumber" (message-sequencing)
            with self._store.transaction():
                self._forget(message.sequence_number)
                message.sequence_number = self._next_number()
                message.scheduled = False
                self._store.save(self.path, message)
            self._place(message)
        elif message.lock is None and message.expires_at is not None and message.expires_at <= now:
            if self.settings.dead_letter_on_expiry:
                text = "The message expired and was dead lettered."
                self._bury(message, DeathCertificate("TTLExpiredException", text))
            else:
                self._forget(message.sequence_number)

    # ---- the places where a message can be

    def _place(self, message: Message) -> None:
        """Make a message that is not locked wait for its time or for a receiver."""
        self.messages[message.sequence_number] = message
        if message.scheduled:
            self._remind(message.enqueued_at, message)
            return
        lane = message.incoming.session_id if self.settings.requires_session else None
        heapq.heappush(self._ready.setdefault(lane or _NO_SESSION, []), message.sequence_number)
        if message.expires_at is not None:
            self._remind(message.expires_at, message)

    def _first_ready(self, lane: str) -> int | None:
        heap = self._ready.get(lane, [])
        while heap and heap[0] not in self.messages:  # removed meanwhile by expiry
            heapq.heappop(heap)
        if heap:
            return heap[0]
        self._ready.pop(lane, None)
        return None

    def _failed(self, message: Message) -> None:
        message.delivery_count += 1
        if self.dead_letters is not None and message.delivery_count >= self.settings.max_delivery_count:
            text = f"Message could not be consumed after {message.delivery_count} delivery attempts."
            self._bury(message, DeathCertificate("MaxDeliveryCountExceeded", text))
        else:
            self._store.save(self.path, message)
            self._place(message)

    def _bury(self, message: Message, death: DeathCertificate) -> None:
        assert self.dead_letters is not None  # noqa: S101 - asked before by everyone
        with self._store.transaction():
            self._forget(message.sequence_number)
            message.death = death
            message.expires_at = None  # what is dead does not expire (service-bus-dead-letter-queues)
            self._store.save(self.dead_letters.path, message)
        self.dead_letters._place(message)  # noqa: SLF001 - the other half of the same queue

    def _forget(self, sequence_number: int) -> None:
        del self.messages[sequence_number]
        self._store.remove(self.path, sequence_number)
        if len(self._reminders) > 1000 + 2 * len(self.messages):  # those of what is gone are swept now and then
            self._reminders = [reminder for reminder in self._reminders if self._is_current(reminder[2])]
            heapq.heapify(self._reminders)

    # ---- locks

    def _prolong(self, lock: MessageLock | SessionLock, now: float) -> float:
        lock.until = now + self.settings.lock_duration
        self._remind(lock.until, lock)
        return lock.until

    def _unlock(self, lock: MessageLock) -> Message:
        del self._locked[lock.token]
        lock.message.lock = None
        return lock.message

    def _end_session(self, session: SessionLock) -> list[Message]:
        del self.sessions[session.session_id]
        return [self._unlock(lock) for lock in list(self._locked.values()) if lock.session is session]

    def _remind(self, at: float, subject: Message | MessageLock | SessionLock) -> None:
        heapq.heappush(self._reminders, (at, next(self._tie), subject))

    def _is_current(self, subject: Message | MessageLock | SessionLock) -> bool:
        """Whether a message is still in this queue, a lock still in force."""
        if isinstance(subject, SessionLock):
            return self.sessions.get(subject.session_id) is subject
        if isinstance(subject, MessageLock):
            return self._locked.get(subject.token) is subject
        return self.messages.get(subject.sequence_number) is subject
