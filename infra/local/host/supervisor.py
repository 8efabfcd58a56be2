"""Keeps host processes running: starts them, starts a crashed one again, ends them together.

Each process has a fixed port and writes to `<state>/logs/<name>.log`. Several instances share one front door.
"""

import asyncio
import contextlib
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path

from infra.local.children import end, end_of, is_ready, spawn
from infra.local.host.errors import StartError
from infra.local.host.front_door import FrontDoor

_START_LIMIT = 60.0  # seconds for a process to become ready
_SHORT_LIFE = 3.0  # seconds; so many lives in a row that end sooner, and the process is not started again
_MOST_SHORT_LIVES = 4
_KILL_MARGIN = 10.0  # seconds beyond the drain time before a process is killed
_LINES = 20  # of the log in an error


class HostProcess:
    """One supervised process."""

    def __init__(
        self, name: str, app: Path, port: int, env: Mapping[str, str], state_dir: Path, drain_seconds: float
    ) -> None:
        state_dir = state_dir.resolve()
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = state_dir / "logs" / f"{name}.log"
        self.ready = asyncio.Event()
        self.starts = 0
        self.pid = 0
        self.keeping: asyncio.Task[None] | None = None  # ends with a StartError when the process is given up
        self._name = name
        self._env = env
        self._drain_seconds = drain_seconds
        self._ready_file = state_dir / "run" / f"{name}.json"
        self._options = (
            "--app", app, "--port", port, "--name", name, "--state", state_dir / "functions",
            "--ready-file", self._ready_file, "--drain-seconds", drain_seconds,
        )  # fmt: skip
        self._process: Process | None = None
        self._stopping = False

    async def start(self) -> None:
        """Start and wait until it is ready. Raises StartError with the end of its log when it is not."""
        for folder in (self.log_path.parent, self._ready_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self.keeping = asyncio.create_task(self._keep_running())
        ready = asyncio.create_task(self.ready.wait())
        try:
            await asyncio.wait([self.keeping, ready], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self.keeping.done():
            await self.keeping

    async def stop(self) -> None:
        """Ask the process to drain and end, and wait for it."""
        self._stopping = True
        if self._process is not None:
            await end(self._process, self._drain_seconds + _KILL_MARGIN)
        if self.keeping is not None:
            with contextlib.suppress(StartError, asyncio.CancelledError):
                await self.keeping

    async def _keep_running(self) -> None:
        short_lives = 0
        while True:
            started = time.monotonic()
            status = await self._run_once()
            self.ready.clear()
            if self._stopping:
                return
            if not self.starts:
                text = f"Host '{self._name}' can't start (status {status}):"
                raise StartError(f"{text}\n{end_of(self.log_path, _LINES)}")
            # not SIGKILL: who kills processes on purpose may do so all day
            crashed_soon = time.monotonic() - started < _SHORT_LIFE and status != -signal.SIGKILL
            short_lives = short_lives + 1 if crashed_soon else 0
            if short_lives == _MOST_SHORT_LIVES:
                text = f"Host '{self._name}' keeps crashing soon after its start and is not started again."
                self._note(text)
                raise StartError(f"{text}\n{end_of(self.log_path, _LINES)}")
            self._note(f"Host '{self._name}' ended with status {status} and is started again.")

    async def _run_once(self) -> int:
        self._ready_file.unlink(missing_ok=True)
        process = await spawn("infra.local.host", *self._options, log=self.log_path, env=self._env)
        self._process, self.pid = process, process.pid
        if self._stopping:  # asked to while it was being started
            process.send_signal(signal.SIGTERM)
        if await is_ready(process, self._ready_file, _START_LIMIT):
            self.starts += 1
            self.ready.set()
        elif process.returncode is None:
            self._note(f"Host '{self._name}' did not become ready within {_START_LIMIT:.0f} seconds.")
            process.kill()
        return await process.wait()

    def _note(self, text: str) -> None:
        with self.log_path.open("a") as log:
            log.write(f"{text}\n")


class Supervisor:
    """All host processes of one application, and their front door."""

    def __init__(self, *, drain_seconds: float = 30.0) -> None:
        self._drain_seconds = drain_seconds
        self._door: FrontDoor | None = None
        self.processes: dict[str, HostProcess] = {}
        self.front_door = ""

    async def start(
        self, app: Path, ports: Mapping[str, int], env: Mapping[str, str], state_dir: Path, *, front_door_port: int = 0
    ) -> None:
        """Start a process for each name of `ports` with settings `env`, and wait until all are ready.

        When one can't be started, all are given up. With one process the front door is its own port. Raises StartError.
        """
        self.processes = {
            name: HostProcess(name, app, port, env, state_dir, self._drain_seconds) for name, port in ports.items()
        }
        results = await asyncio.gather(
            *(process.start() for process in self.processes.values()), return_exceptions=True
        )
        if failures := [result for result in results if result is not None]:
            await self.stop()
            raise failures[0]
        if len(ports) == 1:
            self.front_door = next(iter(self.processes.values())).url
        else:
            self._door = FrontDoor(list(ports.values()))
            self.front_door = f"http://127.0.0.1:{await self._door.start(front_door_port)}"

    async def stop(self) -> None:
        """Take no more requests, let every process drain and end."""
        if self._door is not None:
            self._door.stop_listening()
        await asyncio.gather(*(process.stop() for process in self.processes.values()))
        if self._door is not None:
            await self._door.stop()
