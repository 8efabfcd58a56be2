"""Queues with those who receive from them: hands messages to receivers with credit, and keeps time.

Queues are pure, connections and links know AMQP; this lies between.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from infra.local.standin.service_bus.queues import Queue

if TYPE_CHECKING:
    from infra.local.standin.service_bus.links import Consumer


class Entity:
    """A queue, or a dead-letter sub-queue, which has no `dead_letters` itself. `now` gives seconds since the epoch."""

    def __init__(self, queue: Queue, now: Callable[[], float], dead_letters: "Entity | None" = None) -> None:
        self.queue = queue
        self.dead_letters = dead_letters
        self.consumers: deque[Consumer] = deque()
        self.waiting: deque[Consumer] = deque()  # for the next available session
        self._now = now
        self._alarm: asyncio.TimerHandle | None = None

    def advance(self) -> float:
        """Let happen in the queue what is due; gives the time."""
        now = self._now()
        for session in self.queue.advance(now):
            for consumer in list(self.consumers):
                if consumer.session is session:
                    consumer.lose_session()
        return now

    def pump(self) -> None:
        """Give away what can be given: sessions to those who wait, messages to those who have credit."""
        now = self.advance()
        while self.waiting and (session := self.queue.accept_next_session(now)) is not None:
            self.waiting.popleft().grant(session)
        idle = 0  # receivers in a row that took nothing; round robin ends when all did
        while idle < len(self.consumers):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            lock = self.queue.receive(now, consumer.session) if consumer.capacity > 0 else None
            if lock is None:
                idle += 1
            else:
                idle = 0
                consumer.deliver(lock)
        self.stop()
        if (deadline := self.queue.next_deadline()) is not None:
            # a millisecond late rather than early: the loop's clock and the world's are not the same
            delay = max(0.0, deadline - now) + 0.001
            self._alarm = asyncio.get_running_loop().call_later(delay, self.pump)
        if self.dead_letters is not None:
            self.dead_letters.pump()

    def stop(self) -> None:
        """Keep time no longer, until the next pump."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
