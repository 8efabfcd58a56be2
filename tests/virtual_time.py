"""An event loop whose time is simulated: instead of waiting for the next timer it jumps to it."""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_START = datetime(2026, 1, 1, tzinfo=UTC)
_TURN = 1e-9  # seconds that each turn of the loop takes, so that no timer rings early by rounding, or for ever


class _Jumping(selectors.BaseSelector):
    """Waits by moving the loop's time forward. Only timers and ready callbacks: real sockets are not waited for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.before_time_passes: Callable[[], None] | None = None
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Jump over `timeout`."""
        if timeout is None:
            raise RuntimeError("the simulation waits for something that never comes")
        if timeout > 0 and self.before_time_passes is not None:
            self.before_time_passes()
        self.now += max(0.0, timeout) + _TURN
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """The loop's own wake-up pipe is registered here, and never used."""
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See register."""
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See register."""
        return self._real.get_map()

    def close(self) -> None:
        """Close the real selector."""
        self._real.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio with simulated time. As `shared.core.clock.Clock` it tells the same time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = 0.0

    def before_time_passes(self, look: Callable[[], None]) -> None:
        """Have `look` called whenever nothing is left to do but to wait. What it raises ends the simulation."""
        self._jumping.before_time_passes = look

    def time(self) -> float:
        """Simulated seconds since the start."""
        return self._jumping.now

    monotonic = time

    def now(self) -> datetime:
        """The simulated date and time."""
        return _START + timedelta(seconds=self.time())
