"""How a process of the local stack learns that it is to end, and how it writes files."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from infra.local.processes import told_to_end, write_whole

WAITS = """
import asyncio, sys
from infra.local.processes import told_to_end

async def wait(parent):
    told = told_to_end(parent)
    print("waits", flush=True)
    async with asyncio.timeout(20):
        await told.wait()
    print("told", flush=True)

asyncio.run(wait(int(sys.argv[1])))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_tells(number: signal.Signals) -> None:
    command = (sys.executable, "-c", WAITS, str(os.getpid()))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"waits\n"
    process.send_signal(number)
    assert await process.stdout.read() == b"told\n"
    assert await process.wait() == 0


async def test_the_end_of_the_parent_tells() -> None:
    """Also of one that is killed, and can tell nobody."""
    command = ("sh", "-c", '"$0" -c "$1" $$ & wait', sys.executable, WAITS)
    parent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"waits\n"
    parent.kill()
    assert await parent.stdout.read() == b"told\n"
    await parent.wait()


async def test_a_parent_that_is_gone_already_tells() -> None:
    told = told_to_end(parent=os.getpid())  # whose child this one is not
    assert told.is_set()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    for text in ("a longer one", "short"):
        write_whole(path, text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]
