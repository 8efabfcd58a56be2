"""Waiting for what can only be looked at."""

import asyncio
from collections.abc import Awaitable, Callable

_POLL = 0.05  # seconds


async def until[T](look: Callable[[], Awaitable[T | None]], within: float) -> T:
    """Look again and again until there is something to be seen; give it. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            if seen := await look():
                return seen
            await asyncio.sleep(_POLL)
