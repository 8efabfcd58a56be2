"""Keeps host processes running: starts them, starts a crashed one again, ends them together.

Each process has a fixed port and writes to `<state>/logs/<name>.log`. Several instances share one front door.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.host.errors import StartError
from infra.local.host.front_door import FrontDoor

_PROJECT = Path(__file__).resolve().parents[3]
_READY_POLL = 0.01  # seconds between looks for the ready file
_START_LIMIT = 60.0  # seconds for a process to become ready
_SHORT_LIFE = 3.0  # seconds; so many lives in a row that end sooner, and the process is not started again
_MOST_SHORT_LIVES = 4
_KILL_MARGIN = 10.0  # seconds beyond the drain time before a process is killed


@dataclass(slots=True, frozen=True)
class HostSpec:
    """One host process: its name, the application's folder, a port (0: a free one)."""

    name: str
    app: Path
    port: int = 0


class HostProcess:
    """One supervised process."""

    def __init__(self, spec: HostSpec, env: Mapping[str, str], state_dir: Path, drain_seconds: float) -> None:
        self.spec = spec
        state_dir = state_dir.resolve()
        self.port = spec.port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = state_dir / "logs" / f"{spec.name}.log"
        self.ready = asyncio.Event()
        self.starts = 0
        self.pid = 0
        self._environment = {**os.environ, **env}
        self._drain_seconds = drain_seconds
        self._ready_file = state_dir / "run" / f"{spec.name}.json"
        self._state_dir = state_dir
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start and wait until it is ready. Raises StartError with the end of its log when it is not."""
        for folder in (self.log_path.parent, self._ready_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._keeping = asyncio.create_task(self._keep_running())
        ready = asyncio.create_task(self.ready.wait())
        try:
            await asyncio.wait([self._keeping, ready], return_when=asyncio.FIRST_COMPLETED)
            if self._keeping.done():
                await self._keeping
        finally:
            ready.cancel()

    def watch(self, on_failure: Callable[[StartError], None]) -> None:
        """Have `on_failure` called when the process keeps crashing and is given up."""

        def report(keeping: "asyncio.Task[None]") -> None:
            if not keeping.cancelled() and isinstance(error := keeping.exception(), StartError):
                on_failure(error)

        if self._keeping is not None:
            self._keeping.add_done_callback(report)

    async def stop(self) -> None:
        """Ask the process to drain and end, and wait for it."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._drain_seconds + _KILL_MARGIN)
            if process.returncode is None:
                process.kill()
        if self._keeping is not None:
            with contextlib.suppress(StartError, asyncio.CancelledError):
                await self._keeping
        self.ready.clear()

    async def _keep_running(self) -> None:
        short_lives = 0
        while True:
            started = time.monotonic()
            status = await self._run_once()
            self.ready.clear()
            if self._stopping:
                return
            if not self.starts:
                raise StartError(f"Host '{self.spec.name}' can't start (status {status}):\n{self._end_of_log()}")
            # not SIGKILL: who kills processes on purpose may do so all day
            crashed_soon = time.monotonic() - started < _SHORT_LIFE and status != -signal.SIGKILL
            short_lives = short_lives + 1 if crashed_soon else 0
            if short_lives == _MOST_SHORT_LIVES:
                text = f"Host '{self.spec.name}' keeps crashing soon after its start and is not started again."
                self._note(text)
                raise StartError(f"{text}\n{self._end_of_log()}")
            self._note(f"Host '{self.spec.name}' ended with status {status} and is started again.")

    async def _run_once(self) -> int:
        self._ready_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "infra.local.host", "--app", str(self.spec.app), "--port", str(self.port)]
        command += ["--name", self.spec.name, "--state", str(self._state_dir / "functions")]
        command += ["--ready-file", str(self._ready_file), "--drain-seconds", str(self._drain_seconds)]
        command += ["--parent", str(os.getpid())]
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                cwd=_PROJECT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C at the terminal is the supervisor's to pass on
            )
        self.pid = self._process.pid
        if self._stopping:  # asked to while it was being started
            self._process.send_signal(signal.SIGTERM)
        watching = asyncio.create_task(self._watch_ready(self._process))
        try:
            return await self._process.wait()
        finally:
            watching.cancel()

    async def _watch_ready(self, process: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + _START_LIMIT
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, ValueError):
                if json.loads(self._ready_file.read_bytes())["pid"] == process.pid:
                    self.starts += 1
                    self.ready.set()
                    return
            await asyncio.sleep(_READY_POLL)
        self._note(f"Host '{self.spec.name}' did not become ready within {_START_LIMIT:.0f} seconds.")
        process.kill()

    def _note(self, text: str) -> None:
        with self.log_path.open("a") as log:
            log.write(f"{text}\n")

    def _end_of_log(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-20:])


class Supervisor:
    """All host processes of one stack, and their front door."""

    def __init__(self, *, drain_seconds: float = 30.0) -> None:
        self._drain_seconds = drain_seconds
        self._door: FrontDoor | None = None
        self.processes: dict[str, HostProcess] = {}
        self.front_door = ""
        # done when a process has been given up after it had started; the stack is not complete any longer
        self.failure: asyncio.Future[StartError] = asyncio.get_running_loop().create_future()

    @property
    def urls(self) -> dict[str, str]:
        """The URL of each process."""
        return {name: process.url for name, process in self.processes.items()}

    async def start(
        self, specs: list[HostSpec], env: Mapping[str, str], state_dir: Path, *, front_door_port: int = 0
    ) -> None:
        """Start all processes with settings `env`, added to this process's, and wait until they are ready.

        When one can't be started, all are given up. With one process the front door is its own port. Raises StartError.
        """
        if len(specs) == 1 and front_door_port and not specs[0].port:
            specs = [HostSpec(specs[0].name, specs[0].app, front_door_port)]
        self.processes = {spec.name: HostProcess(spec, env, state_dir, self._drain_seconds) for spec in specs}
        results = await asyncio.gather(
            *(process.start() for process in self.processes.values()), return_exceptions=True
        )
        if failures := [result for result in results if isinstance(result, BaseException)]:
            await self.stop()
            raise failures[0]
        if len(specs) == 1:
            self.front_door = next(iter(self.urls.values()))
        else:
            self._door = FrontDoor([process.port for process in self.processes.values()])
            self.front_door = f"http://127.0.0.1:{await self._door.start(front_door_port)}"
        for process in self.processes.values():
            process.watch(self._on_failure)

    async def stop(self) -> None:
        """Take no more requests, let every process drain and end."""
        if self._door is not None:
            await self._door.stop()
        await asyncio.gather(*(process.stop() for process in self.processes.values()))

    def _on_failure(self, error: StartError) -> None:
        if not self.failure.done():
            self.failure.set_result(error)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address: tuple[str, int] = probe.getsockname()
        return address[1]
