"""The broker between queues and links: finds entities, hands messages to receivers with credit, keeps time.

Queues are pure, connections and links know AMQP; this lies between. Every operation goes through `perform`, which
applies latency and faults and writes the journal.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from infra.local.standin.service_bus import errors
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.model import DEAD_LETTER_SUFFIX, QueueSettings
from infra.local.standin.service_bus.persistence import QueueStore
from infra.local.standin.service_bus.queues import Queue
from infra.local.standin.wire import FaultRule, World

if TYPE_CHECKING:
    from infra.local.standin.service_bus.amqp import Connection
    from infra.local.standin.service_bus.links import Consumer

_DROPPED = 0  # the journal's status of an operation whose connection was cut instead of answered


class Pending(Exception):  # noqa: N818 - no error: the answer comes later, with its journal entry
    """Raised by an operation that cannot be answered yet."""


@dataclass(slots=True)
class Entity:
    """A queue or dead-letter sub-queue with those who receive from it."""

    queue: Queue
    dead_letters: "Entity | None" = None
    consumers: "deque[Consumer]" = field(default_factory=deque)
    waiting: "deque[Consumer]" = field(default_factory=deque)  # for the next available session
    alarm: asyncio.TimerHandle | None = None


class Broker:
    """All queues of the namespace."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._store = QueueStore(world.storage)
        self._entities: dict[str, Entity] = {}  # by lower-case path: names are case-insensitive
        self._owners: dict[str, Entity] = {}

    def create_queue(self, settings: QueueSettings) -> None:
        """Add a queue with what the storage holds of it."""
        queue = Queue(settings, self._store)
        assert queue.dead_letters is not None  # noqa: S101 - only a dead-letter sub-queue has none
        dead_letters = Entity(queue.dead_letters)
        entity = Entity(queue, dead_letters)
        path = settings.name.lower()
        for key, part in ((path, entity), (path + DEAD_LETTER_SUFFIX.lower(), dead_letters)):
            self._entities[key] = part
            self._owners[key] = entity

    def set_lock_duration(self, seconds: float) -> None:
        """Of all queues."""
        for entity in self._entities.values():
            entity.queue.settings = replace(entity.queue.settings, lock_duration=seconds)

    @property
    def seen(self) -> Iterable[tuple[str, bytes]]:
        """The messages sent since the start, as far as remembered: queue and AMQP encoding."""
        return self._store.seen

    def entity(self, path: str) -> Entity:
        """The queue or sub-queue at `path`. Raises Refusal when there is none."""
        entity = self._entities.get(path.lower())
        if entity is None:
            raise errors.entity_not_found(path)
        return entity

    def start(self) -> None:
        """Begin to keep time: schedules and locks that fell due meanwhile are acted upon."""
        for entity in self._entities.values():
            self.pump(entity)

    def stop(self) -> None:
        """Keep time no longer."""
        for entity in self._owners.values():
            if entity.alarm is not None:
                entity.alarm.cancel()
                entity.alarm = None

    # ---- operations

    def perform(
        self,
        caller: "Connection",
        operation: str,
        target: str,
        principal: str,
        act: Callable[[], str | None],
        refuse: Callable[[Refusal], None],
        correlation_id: str = "",
    ) -> None:
        """Carry out one operation now or after the latency in force.

        `act` does it, queues its answer and may give the correlation id; `refuse` queues the answer to a Refusal.
        """
        weather = self.world.weather
        rule = weather.strike("service_bus", operation, target)
        delay = weather.latency_ms.get("service_bus", 0.0) + ((rule.delay_ms or 0.0) if rule else 0.0)

        def carry_out() -> None:
            if not caller.alive:
                return
            status, correlation = _DROPPED, correlation_id
            if rule is None or not _cuts_request(rule):
                try:
                    if rule is not None and rule.status is not None:
                        raise errors.injected(rule.status)
                    correlation = act() or correlation_id
                    status = 200
                except Pending:
                    return
                except Refusal as refusal:
                    status = refusal.status
                    refuse(refusal)
            if rule is not None and rule.drop:
                status = _DROPPED
                caller.drop()
            else:
                caller.flush()
            self.record(operation, principal, target, status, correlation)

        if delay > 0:
            asyncio.get_running_loop().call_later(delay / 1000, carry_out)
        else:
            carry_out()

    def record(self, operation: str, principal: str, target: str, status: int, correlation_id: str = "") -> None:
        """Write one line of the journal."""
        self.world.journal.record("service_bus", operation, principal, target, status, correlation_id)

    # ---- time and distribution

    def advance(self, entity: Entity) -> float:
        """Let happen in the entity's queue what is due; gives the time."""
        owner = self._owners[entity.queue.path.lower()]
        now = self.world.now()
        for session in owner.queue.advance(now):
            for consumer in list(owner.consumers):
                if consumer.session is session:
                    consumer.lose_session()
        return now

    def pump(self, entity: Entity) -> None:
        """Give away what can be given: sessions to those who wait, messages to those who have credit."""
        owner = self._owners[entity.queue.path.lower()]
        now = self.advance(owner)
        while owner.waiting and (session := owner.queue.accept_next_session(now)) is not None:
            owner.waiting.popleft().grant(session)
        _distribute(owner, now)
        if owner.dead_letters is not None:
            _distribute(owner.dead_letters, now)
        self._set_alarm(owner, now)

    def _set_alarm(self, owner: Entity, now: float) -> None:
        deadline = owner.queue.next_deadline()
        if owner.alarm is not None:
            owner.alarm.cancel()
            owner.alarm = None
        if deadline is not None:
            # a millisecond late rather than early: the loop's clock and the world's are not the same
            delay = max(0.0, deadline - now) + 0.001
            owner.alarm = asyncio.get_running_loop().call_later(delay, self.pump, owner)


def _distribute(entity: Entity, now: float) -> None:
    consumers = entity.consumers
    idle = 0  # receivers in a row that took nothing; round robin ends when all did
    while idle < len(consumers):
        consumer = consumers[0]
        consumers.rotate(-1)
        message = entity.queue.receive(now, consumer.session) if consumer.capacity > 0 else None
        if message is None:
            idle += 1
        else:
            idle = 0
            consumer.deliver(message)


def _cuts_request(rule: FaultRule) -> bool:
    return rule.drop is True or rule.drop == "request"
