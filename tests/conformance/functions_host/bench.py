"""The bench of the Functions host's suite: a namespace with queues, senders, and one host process."""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender

from infra.local.standin.service_bus import ServiceBus
from infra.local.standin.storage import Storage
from infra.local.standin.wire import Entry, World

APP = Path(__file__).parent / "app"
PROJECT = Path(__file__).parents[3]
PATIENCE = 10.0  # seconds for something to happen
QUEUES = ("plain", "stumbles", "crowd", "long", "slow", "many", "overlong", "fatal", "unserved")
SHORT_LOCKS = ("long", "overlong", "fatal")
SESSIONS = ("sessions", "lasting")  # queues that require them
ON_DEMAND = ("slow", "overlong", "fatal", "lasting")  # disabled unless a test starts a host of its own


def wait_for[T](look: Callable[[], T]) -> T:
    """What `look` gives once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.01)
    pytest.fail("it did not happen in time")


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Bench:
    """A namespace with queues, its senders, and one host process running the sample application."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = folder / "app"
        self.state = folder / "state"
        self.records_path = folder / "records"
        self.log_path = folder / "log"
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.senders: dict[str, ServiceBusSender] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def start(self) -> None:
        shutil.copytree(APP, self.app)
        self.records_path.touch()
        self.run(self._open())
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "RECORDS": str(self.records_path),
            "Bus": self.bus.connection_string,
            "PlainQueue": "plain",
            "Often": "* * * * * *",
            "AzureWebJobs.off.Disabled": "true",
            "AzureWebJobs.unserved.Disabled": "1",
            **{f"AzureWebJobs.{name}.Disabled": "true" for name in ON_DEMAND},
            "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000",
        }
        missed = {"Last": "2026-01-01T00:00:00+00:00", "Next": "2026-01-01T01:00:00+00:00", "LastUpdated": ""}
        (self.state / "timers").mkdir(parents=True)
        (self.state / "timers" / "hourly.json").write_text(json.dumps(missed))
        self.process, self.port = start_host(self, self.log_path)

    @property
    def settings(self) -> dict[str, str]:
        """What a host's environment needs beyond this process's."""
        return {name: value for name, value in self.environment.items() if os.environ.get(name) != value}

    async def _open(self) -> None:
        self.storage = Storage()
        self.world = World(self.storage)
        self.bus = ServiceBus(self.world)
        for name in QUEUES:
            self.bus.create_queue(
                name,
                lock_duration=0.6 if name in SHORT_LOCKS else 60,
                max_delivery_count=1 if name == "overlong" else 10,
            )
        for name in SESSIONS:
            self.bus.create_queue(name, requires_session=True, lock_duration=1.5 if name == "lasting" else 60)
        await self.bus.start()
        self.client = ServiceBusClient.from_connection_string(self.bus.connection_string)
        await self.open_senders()

    async def open_senders(self) -> None:
        await self._close_senders()
        self.senders = {name: self.client.get_queue_sender(name) for name in (*QUEUES, *SESSIONS)}

    def send(self, queue: str, *messages: ServiceBusMessage) -> None:
        self.run(self.senders[queue].send_messages(list(messages)))

    def stop(self) -> None:
        if self.process is not None:
            stop_host(self.process)
        self.run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _close(self) -> None:
        await self._close_senders()
        await self.client.close()
        await self.bus.stop()
        self.storage.close()

    async def _close_senders(self) -> None:
        await asyncio.gather(*(sender.close() for sender in self.senders.values()))

    def records(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        lines = self.records_path.read_text().splitlines()
        return [record for line in lines if {"kind": kind, **fields}.items() <= (record := json.loads(line)).items()]

    def journal(self, operation: str, queue: str) -> list[Entry]:
        entries, _ = self.world.journal.since(1)
        return [entry for entry in entries if (entry.operation, entry.target) == (operation, queue)]

    def locked_messages(self, queue: str) -> int:
        return len(self.bus.entity(queue).queue._locked)

    def holds_session(self, queue: str, session_id: str) -> bool:
        return session_id in self.bus.entity(queue).queue.sessions

    def log(self) -> str:
        return self.log_path.read_text()

    def call(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        port: int = 0,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    @property
    def keys(self) -> Any:
        return json.loads((self.state / "keys.json").read_text())


def start_host(bench: Bench, log_path: Path, **settings: str) -> tuple[subprocess.Popen[bytes], int]:
    ready = log_path.with_suffix(".ready")
    command = [
        sys.executable,
        "-m",
        "infra.local.host",
        "--app",
        str(bench.app),
        "--port",
        "0",
        "--drain-seconds",
        "0.6",
    ]
    command += ["--state", str(bench.state), "--ready-file", str(ready)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**bench.environment, **settings})  # noqa: S603
    wait_for(lambda: ready.exists() or process.poll() is not None)
    assert ready.exists(), log_path.read_text()
    return process, int(json.loads(ready.read_text())["url"].rpartition(":")[2])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop_host(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
