"""When a host process that ends is started again, and when it is given up."""

import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from infra.local.host.errors import StartError
from infra.local.host.supervisor import HostProcess, HostSpec


class Brief(HostProcess):
    """A process that becomes ready and ends at once, with one status after the other."""

    def __init__(self, folder: Path, statuses: Iterable[int]) -> None:
        super().__init__(HostSpec("brief", folder), {}, folder, drain_seconds=1)
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
    failure: asyncio.Future[StartError] = asyncio.get_running_loop().create_future()
    process.watch(failure.set_result)
    async with asyncio.timeout(10):
        assert "Host 'brief' keeps crashing" in str(await failure)
    assert process.starts == 4


async def test_one_that_is_killed_on_purpose_is_not(tmp_path: Path) -> None:
    process = Brief(tmp_path, [-signal.SIGKILL] * 10 + [3] * 10)
    with pytest.raises(StartError, match="keeps crashing"):
        await process._keep_running()
    assert process.starts == 14
