"""How a process that another one starts is waited for and ended."""

import asyncio
import signal
import sys
from pathlib import Path

from infra.local.children import end, is_ready

STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


async def test_one_that_does_not_end_when_told_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", STUBBORN, str(ready))
    assert await is_ready(process, ready, 20)
    await end(process, 0.1)
    assert process.returncode == -signal.SIGKILL


async def test_one_that_ends_is_never_ready(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    assert not await is_ready(process, tmp_path / "never", 60)
    assert await process.wait() == 0
    await end(process, 0)  # which does nothing


async def test_one_that_takes_too_long_is_not_ready(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    assert not await is_ready(process, tmp_path / "never", 0)
    await end(process, 20)
    assert process.returncode == -signal.SIGTERM
