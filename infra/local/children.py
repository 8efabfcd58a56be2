"""Processes that this one starts: each runs a module, writes to a log, and says with a file that it is ready."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_POLL = 0.01  # seconds between looks for the ready file


async def spawn(module: str, *options: object, log: Path, env: Mapping[str, str]) -> Process:
    """Run `python -m module options` with settings `env` beside this process's; it ends when this process is gone."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *map(str, options), "--parent", str(os.getpid()),
            cwd=PROJECT, env={**os.environ, **env}, stdin=DEVNULL, stdout=file, stderr=file,
            start_new_session=True,  # Ctrl-C at the terminal is this process's to pass on
        )  # fmt: skip


async def is_ready(process: Process, file: Path, limit: float) -> bool:
    """Wait until `file` is there; False when the process ends before that, or within `limit` seconds does neither."""
    deadline = time.monotonic() + limit
    while not file.exists():  # noqa: ASYNC240 - one look, which waits for nothing
        if process.returncode is not None or time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True


async def end(process: Process, limit: float) -> None:
    """Ask the process to end, and kill it if it has not after `limit` seconds."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), limit)
    except TimeoutError:
        process.kill()
        await process.wait()


def end_of(log: Path, lines: int) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
