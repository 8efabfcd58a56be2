"""The rules of a queue with the clock in the test's hand, and a machine that holds it against a simple model.

That the rules are Azure's is shown, with their sources, by tests/conformance/service_bus.
"""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infra.local.standin.service_bus.errors import Refusal
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
from infra.local.standin.service_bus.queues import Queue
from infra.local.standin.storage import Storage

LOCK = 30.0
STORAGE = Storage()


@pytest.fixture(scope="module", autouse=True)
def storage() -> Iterator[None]:
    yield
    STORAGE.close()


def make(name: str = "", **options: object) -> Queue:
    name, store = name or uuid4().hex, QueueStore(STORAGE)
    dead_letters = Queue(QueueSettings(name=name + DEAD_LETTER_SUFFIX, lock_duration=LOCK), store)
    settings = QueueSettings(name=name, **{"lock_duration": LOCK, **options})  # type: ignore[arg-type]
    return Queue(settings, store, dead_letters)


def kept(queue: Queue) -> list[Message]:
    """What a process that starts now finds of a queue and its dead letters."""
    found = [message for part in _parts(queue) for message in queue._store.load(part.path)]
    return sorted(found, key=lambda message: message.sequence_number)


def _parts(queue: Queue) -> tuple[Queue, Queue]:
    assert queue.dead_letters is not None
    return queue, queue.dead_letters


def send(queue: Queue, *bodies: str, now: float = 0, **options: object) -> list[int]:
    """Gives the numbers of those that were not there before."""
    before = set(queue.messages)
    queue.send([Incoming(body.encode(), **options) for body in bodies], now)  # type: ignore[arg-type]
    return sorted(queue.messages.keys() - before)


def body(message: Message) -> str:
    return message.incoming.payload.decode()


def receive(queue: Queue, now: float, session: SessionLock | None = None) -> MessageLock:
    lock = queue.receive(now, session)
    assert lock is not None
    return lock


def drain(queue: Queue, now: float, session: SessionLock | None = None) -> list[str]:
    found = []
    while (lock := queue.receive(now, session)) is not None:
        found.append(body(lock.message))
        queue.settle("complete", lock.token, session)
    return found


def graves(queue: Queue) -> list[tuple[str, str]]:
    assert queue.dead_letters is not None
    return [(body(m), m.death.reason if m.death else "") for m in queue.dead_letters.messages.values()]


def test_messages_leave_in_order_and_completed_ones_are_gone() -> None:
    queue = make()
    assert send(queue, "a", "b", "c") == [1, 2, 3]
    assert drain(queue, 1) == ["a", "b", "c"]
    assert kept(queue) == []


def test_abandoned_comes_before_later_and_counts_released_does_not() -> None:
    queue = make()
    send(queue, "a", "b")
    queue.settle("abandon", receive(queue, 1).token)
    again = receive(queue, 1)
    assert (body(again.message), again.message.delivery_count) == ("a", 1)
    queue.settle("release", again.token)
    again = receive(queue, 1)
    assert (body(again.message), again.message.delivery_count) == ("a", 1)


@pytest.mark.parametrize("how", ["abandon", "expiry"])
def test_the_last_permitted_delivery_buries(how: str) -> None:
    queue = make(max_delivery_count=2)
    send(queue, "a")
    for attempt in range(2):
        lock = receive(queue, attempt * 100)
        if how == "abandon":
            queue.settle("abandon", lock.token)
        else:
            queue.advance(attempt * 100 + LOCK)
    assert queue.receive(200) is None
    assert graves(queue) == [("a", "MaxDeliveryCountExceeded")]


def test_a_lock_ends_exactly_at_its_time_and_renewal_moves_it() -> None:
    queue = make()
    send(queue, "a")
    held = receive(queue, 0).token
    queue.advance(LOCK - 1)
    assert queue.renew(held, LOCK - 1) == 2 * LOCK - 1
    queue.advance(2 * LOCK - 1.5)
    assert queue.receive(2 * LOCK - 1.5) is None
    queue.advance(2 * LOCK - 1)
    assert body(receive(queue, 2 * LOCK - 1).message) == "a"
    for late in (lambda: queue.settle("complete", held), lambda: queue.renew(held, 2 * LOCK)):
        with pytest.raises(Refusal, match="message-lock-lost"):
            late()


def test_scheduled_messages_wait_and_get_a_new_number() -> None:
    queue = make()
    [number] = send(queue, "later", scheduled_at=50.0)
    send(queue, "now")
    assert queue.next_deadline() == 50
    assert drain(queue, 10) == ["now"]
    queue.advance(50)
    message = receive(queue, 50).message
    assert (body(message), message.sequence_number > number, message.enqueued_at) == ("later", True, 50)


@pytest.mark.parametrize(("bury", "expected"), [(False, []), (True, [("a", "TTLExpiredException")])])
def test_time_to_live(bury: bool, expected: list[tuple[str, str]]) -> None:  # noqa: FBT001 - a parameter of pytest's
    queue = make(default_ttl=100.0, dead_letter_on_expiry=bury)
    send(queue, "a", ttl=10.0)
    send(queue, "b", ttl=1000.0)
    queue.advance(10)
    assert (drain(queue, 10), graves(queue)) == (["b"], expected)


def test_a_locked_message_does_not_expire_until_its_lock_does() -> None:
    queue = make(dead_letter_on_expiry=True)
    send(queue, "a", ttl=10.0)
    held = receive(queue, 0).token
    queue.advance(20)
    assert graves(queue) == []
    assert queue.renew(held, 20) == 20 + LOCK
    queue.advance(20 + LOCK)
    assert graves(queue) == [("a", "TTLExpiredException")]


def test_duplicates_are_known_for_the_window_and_not_longer_and_after_a_restart() -> None:
    queue = make("duplicates", duplicate_detection_window=60.0)
    assert send(queue, "a", message_id="x") == [1]
    assert send(make("duplicates", duplicate_detection_window=60.0), "b", "c", now=59, message_id="x") == []
    assert send(queue, "d", now=60, message_id="x") == [2]
    assert queue._store.ids("duplicates") == [("x", 60)]
    assert send(make(), "a", "a", message_id="x") == [1, 2]  # a queue without


def test_a_batch_is_refused_as_a_whole() -> None:
    queue = make(requires_session=True)
    with pytest.raises(Refusal, match="not-allowed"):
        queue.send([Incoming(b"a", session_id="s"), Incoming(b"b")], 0)
    with pytest.raises(Refusal, match="argument-error"):
        queue.send([Incoming(b"a", session_id="s" * 129)], 0)
    assert queue.messages == {}


def test_sessions_are_exclusive_ordered_and_the_oldest_comes_next() -> None:
    queue = make(requires_session=True)
    for session_id in ("b", "a", "b"):
        send(queue, session_id + "1", session_id=session_id)
    first = queue.accept_next_session(0)
    second = queue.accept_next_session(0)
    assert first is not None
    assert second is not None
    assert (first.session_id, second.session_id, queue.accept_next_session(0)) == ("b", "a", None)
    with pytest.raises(Refusal, match="session-cannot-be-locked"):
        queue.accept_session("a", 0)
    assert drain(queue, 1, first) == ["b1", "b1"]
    assert drain(queue, 1, second) == ["a1"]


@pytest.mark.parametrize(("ending", "count"), [("closed", 0), ("expired", 1)])
def test_a_session_that_ends_gives_its_messages_back(ending: str, count: int) -> None:
    queue = make(requires_session=True)
    send(queue, "m", session_id="s")
    first = queue.accept_session("s", 0)
    held = receive(queue, 0, first).token
    if ending == "closed":
        queue.release_session(first)
    else:
        assert queue.advance(LOCK) == [first]
    second = queue.accept_session("s", LOCK)
    again = receive(queue, LOCK, second)
    assert again.message.delivery_count == count
    for late in (lambda: queue.settle("complete", held, first), lambda: queue.receive(LOCK, first)):
        with pytest.raises(Refusal, match="session-lock-lost"):
            late()
    queue.release_session(first)  # a closed link's second end changes nothing
    queue.settle("complete", again.token, second)


def test_a_renewed_session_keeps_its_messages() -> None:
    queue = make(requires_session=True)
    send(queue, "m", session_id="s")
    session = queue.accept_session("s", 0)
    held = receive(queue, 0, session).token
    with pytest.raises(Refusal, match="message-lock-lost"):
        queue.renew(held, 1)  # the message alone
    assert queue.renew_session("s", LOCK - 1) == 2 * LOCK - 1
    assert queue.advance(LOCK) == []
    queue.settle("complete", held, session)


def test_dead_letters_stay_until_they_are_settled() -> None:
    queue = make(max_delivery_count=1, default_ttl=10.0, requires_session=True)
    send(queue, "m", session_id="s")
    session = queue.accept_session("s", 0)
    queue.settle("dead_letter", receive(queue, 0, session).token, session, DeathCertificate("why"))
    assert graves(queue) == [("m", "why")]
    _, dead = _parts(queue)
    for attempt in range(3):  # neither age nor failed deliveries move it, and no session is asked for
        dead.advance(attempt * 1000)
        dead.settle("abandon", receive(dead, attempt * 1000).token)
    held = receive(dead, 5000).token
    with pytest.raises(Refusal, match="not-allowed"):
        dead.settle("dead_letter", held)
    dead.settle("complete", held)
    assert graves(queue) == []


def test_numbers_are_never_given_out_twice_even_by_a_restart() -> None:
    queue = make()
    [number] = send(queue, "a")
    queue.settle("complete", receive(queue, 0).token)
    assert send(make(queue.path), "b") > [number]


def test_reminders_of_what_is_gone_do_not_pile_up() -> None:
    queue = make()
    for start in range(0, 5000, 10):
        send(queue, *map(str, range(10)), now=start, ttl=1e6)
        drain(queue, start)
    assert len(queue._reminders) < 1100


class QueueMachine(RuleBasedStateMachine):
    """Nothing acknowledged is lost, nothing locked goes to a second receiver, sessions keep their order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue = make(requires_session=True, max_delivery_count=3)
        self.sent: dict[str, str] = {}  # body -> session
        self.done: set[str] = set()
        self.sessions: list[SessionLock] = []  # all that were ever granted, newest last
        self.held: list[tuple[str, UUID, SessionLock]] = []  # as receivers believe
        for session_id in "xy":
            self.send(session_id, 3, 0)

    def alive(self, session: SessionLock) -> bool:
        return session.until > self.now and self.queue.sessions.get(session.session_id) is session

    @rule(session_id=st.sampled_from("xy"), count=st.integers(1, 3), delay=st.sampled_from([0.0, 20.0]))
    def send(self, session_id: str, count: int, delay: float) -> None:
        batch = []
        for _ in range(count):
            name = f"{len(self.sent):04d}"
            self.sent[name] = session_id
            at = self.now + delay if delay else None
            batch.append(Incoming(name.encode(), session_id=session_id, scheduled_at=at))
        self.queue.send(batch, self.now)

    @rule(session_id=st.sampled_from(["x", "y", None]))
    def accept(self, session_id: str | None) -> None:
        taken = [session for session in self.sessions if self.alive(session)]
        if session_id in [session.session_id for session in taken]:
            with pytest.raises(Refusal, match="session-cannot-be-locked"):
                self.queue.accept_session(str(session_id), self.now)
            return
        if session_id is None:
            session = self.queue.accept_next_session(self.now)
        else:
            session = self.queue.accept_session(session_id, self.now)
        if session is not None:
            assert session.session_id not in [other.session_id for other in taken]
            self.sessions.append(session)

    @precondition(lambda self: self.sessions)
    @rule(which=st.integers(1, 3))
    def receive(self, which: int) -> None:
        session = self.sessions[-min(which, len(self.sessions))]
        if not self.alive(session):
            with pytest.raises(Refusal, match="session-lock-lost"):
                self.queue.receive(self.now, session)
            return
        mine = [m for m in self.queue.messages.values() if m.incoming.session_id == session.session_id]
        ready = [m.sequence_number for m in mine if m.lock is None and not m.scheduled]
        lock = self.queue.receive(self.now, session)
        assert (None if lock is None else lock.message.sequence_number) == min(ready, default=None)
        if lock is not None:
            name = body(lock.message)
            assert name not in self.done
            assert not [1 for held, _, holder in self.held if held == name and self.alive(holder)], "delivered twice"
            self.held.append((name, lock.token, session))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(1, 4), how=st.sampled_from(["abandon", "complete", "release", "dead_letter"]))
    def settle(self, which: int, how: str) -> None:
        name, lock, session = self.held.pop(-min(which, len(self.held)))
        for other in self.sessions:
            if other is not session:  # a lock is of use only in the session that it was given in
                with pytest.raises(Refusal, match="session-lock-lost"):
                    self.queue.settle(how, lock, other)
        if not self.alive(session):
            with pytest.raises(Refusal, match="session-lock-lost"):
                self.queue.settle(how, lock, session)
            return
        self.queue.settle(how, lock, session)
        if how == "complete":
            self.done.add(name)

    @precondition(lambda self: self.sessions)
    @rule(which=st.integers(1, 3), renew=st.booleans())
    def close_or_renew(self, which: int, renew: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        session = self.sessions[-min(which, len(self.sessions))]
        if not renew:
            self.queue.release_session(session)
            self.held = [item for item in self.held if item[2] is not session]
        elif self.alive(session):
            self.queue.renew_session(session.session_id, self.now)

    @rule(seconds=st.sampled_from([1.0, 10.0, LOCK]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.queue.advance(self.now)

    @rule()
    def settle_with_a_strange_token(self) -> None:
        with pytest.raises(Refusal, match="message-lock-lost"):
            self.queue.settle("complete", uuid4())

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert self.queue.dead_letters is not None
        there = [body(m) for q in (self.queue, self.queue.dead_letters) for m in q.messages.values()]
        assert sorted(there) == sorted(set(self.sent) - self.done)

    @invariant()
    def only_a_held_session_locks(self) -> None:
        for message in self.queue.messages.values():
            holder = message.lock.session if message.lock is not None else None
            assert holder is None or self.queue.sessions[holder.session_id] is holder

    @invariant()
    def the_store_knows_it(self) -> None:
        there = [replace(m, lock=None) for part in _parts(self.queue) for m in part.messages.values()]
        assert kept(self.queue) == sorted(there, key=lambda message: message.sequence_number)


QueueMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase
