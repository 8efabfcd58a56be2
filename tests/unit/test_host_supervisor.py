"""When a host process that ends is started again, and when it is given up."""

import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from infra.local.host.errors import StartError
from infra.local.host.supervisor import HostProcess


class Brief(HostProcess):
    """A process that becomes ready and ends at once, with one status after the other."""

    def __init__(self, folder: Path, statuses: Iterable[int]) -> None:
        super().__init__("brief", folder, 0, {}, folder, drain_seconds=1)
        self.log_path.parent.mkdir()
        self._statuses = iter(statuses)

    async def _run_once(self) -> int:
        self.starts += 1
        self.ready.set()
        await asyncio.sleep(0.01)  # whoever waits for it to be ready has seen it
        return next(self._statuses)


async def test_one_that_keeps_crashing_is_given_up_and_reported(tmp_path: Path) -> None:
    process = Brief(tmp_path, [3] * 10)
    await process.start()
    assert process.keeping is not None
    async with asyncio.timeout(10):
        with pytest.raises(StartError, match="Host 'brief' keeps crashing"):
            await process.keeping
    assert process.starts == 4


async def test_one_that_is_killed_on_purpose_is_not(tmp_path: Path) -> None:
    process = Brief(tmp_path, [-signal.SIGKILL] * 10 + [3] * 10)
    with pytest.raises(StartError, match="keeps crashing"):
        await process._keep_running()
    assert process.starts == 14
