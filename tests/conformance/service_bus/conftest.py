"""Runs the suite's tests side by side."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance.service_bus.bus import AZURE, SCENARIOS, Bus, Scenario

AT_ONCE = 16  # tests


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def runs(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, asyncio.Task[Bus]]]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def run(test: Scenario) -> Bus:
        async with slots:
            bus = Bus()
            await bus.start()
            try:
                await test(bus)
            finally:
                await bus.stop()
            return bus

    chosen = [item for item in request.session.items if item.path.parent == Path(__file__).parent]
    runs = {
        item.name: asyncio.create_task(run(SCENARIOS[item.name]))
        for item in chosen
        if AZURE is None or item.get_closest_marker("standin") is None
    }
    yield runs
    await asyncio.gather(*runs.values(), return_exceptions=True)
    runs.clear()
    gc.collect()  # while the sockets that the SDK forgot are still excused
    await asyncio.sleep(0)  # which closes them in the loop's next turn
