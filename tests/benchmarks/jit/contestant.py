"""The process of one competitor: `python -m tests.benchmarks.jit.contestant NAME TENANTS`. Measures itself."""

import asyncio
import itertools
import ssl
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from tests.benchmarks.harness.process import serve
from tests.benchmarks.jit.competitors import COMPETITORS, Invoke
from tests.benchmarks.jit.tenants import BenchTenant, load


class _TlsCount:
    """Counts the TLS connections that this process begins: asyncio's by wrap_bio, blocking ones by wrap_socket."""

    def __init__(self) -> None:
        self.begun = 0
        for name in ("wrap_bio", "wrap_socket"):
            setattr(ssl.SSLContext, name, self._counted(getattr(ssl.SSLContext, name)))

    def _counted(self, method: Any) -> Any:
        def wrap(*arguments: Any, **named: Any) -> Any:
            self.begun += 1
            return method(*arguments, **named)

        return wrap


class _Contestant:
    def __init__(self, name: str, tenants: list[BenchTenant]) -> None:
        self._name = name
        self._tenants = tenants
        self._turn = itertools.cycle(tenants)
        self._tls = _TlsCount()
        self._stack = AsyncExitStack()
        self._invoke: Invoke | None = None

    async def warm(self, tenants: int) -> None:
        """Two invocations for each of the first `tenants` tenants; those are worked on from now on."""
        if self._invoke is None:
            self._invoke = await COMPETITORS[self._name](self._stack)
        self._turn = itertools.cycle(self._tenants[:tenants])
        for tenant in self._tenants[:tenants] * 2:
            await self._invoke(tenant)

    async def serial(self, count: int) -> dict[str, Any]:
        """`count` invocations one after another, over the tenants in turn: CPU and wall seconds, TLS connections."""
        assert self._invoke is not None
        tls, cpu, walls = self._tls.begun, time.process_time(), []
        for _ in range(count):
            began = time.perf_counter()
            await self._invoke(next(self._turn))
            walls.append(time.perf_counter() - began)
        return {"cpu": time.process_time() - cpu, "walls": walls, "tls": self._tls.begun - tls}

    async def at_once(self, count: int, width: int, spread: float) -> dict[str, Any]:
        """`count` invocations, `width` at a time, each lane keeping to its tenant: how many end in a second, and TLS.

        The lanes set out one after the other within `spread` seconds, the time of one invocation: in step they would
        stay in step, and all wait for each other before each request. Counted without the first and the last `width`,
        while not all lanes have set out and some have ended.
        """
        assert self._invoke is not None
        invoke, tls = self._invoke, self._tls.begun
        left, ends = itertools.repeat(None, count), []

        async def lane(number: int, tenant: BenchTenant) -> None:
            await asyncio.sleep(spread * number / width)
            for _ in left:
                await invoke(tenant)
                ends.append(time.perf_counter())

        await asyncio.gather(*(lane(number, next(self._turn)) for number in range(width)))
        per_second = (count - 2 * width) / (ends[-width - 1] - ends[width - 1])
        return {"per_second": per_second, "tls": self._tls.begun - tls}

    async def end(self) -> None:
        await self._stack.aclose()


if __name__ == "__main__":
    contestant = _Contestant(sys.argv[1], load(sys.argv[2]))
    serve(
        {"warm": contestant.warm, "serial": contestant.serial, "at_once": contestant.at_once},
        contestant.end,
    )
