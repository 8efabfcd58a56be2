"""The local stack as one thing: the stand-in for Azure and the app's host processes, started and ended together."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from infra.local import endpoints
from infra.local.client import Client
from infra.local.endpoints import Endpoints
from infra.local.host.errors import StartError
from infra.local.host.supervisor import HostSpec, Supervisor

PROJECT = Path(__file__).resolve().parents[2]

type Latency = Literal["azure", "none"]

LATENCY_MS: dict[Latency, dict[str, float]] = {
    "none": {},
    # What a service takes inside one Azure region, in milliseconds.
    "azure": {
        "key_vault": 15,
        "entra": 60,
        "resource_manager": 120,
        "graph": 120,
        "cosmos": 5,
        "service_bus": 3,
        "managed_identity": 2,
    },
}

_DRAIN = 5.0  # seconds that running invocations have when the stack ends
_START_LIMIT = 30.0  # seconds for the stand-in to become ready
_POLL = 0.01
_PREFERRED = range(20_000, 32_000)  # below the ports from which systems take those of outgoing connections


@dataclass(frozen=True, slots=True)
class Ports:
    """Consecutive ports: the front door, three of the stand-in, then one of each host process behind a front door."""

    first: int
    instances: int

    @property
    def front_door(self) -> int:
        """Where Bulkhead's API is."""
        return self.first

    @property
    def stand_in(self) -> int:
        """The first of the stand-in's three."""
        return self.first + 1

    def instance(self, number: int) -> int:
        """Of host process `number`, from 0. A single one is its own front door."""
        return self.first + 4 + number if self.instances > 1 else self.first

    @property
    def all(self) -> range:
        """Every port that is needed."""
        return range(self.first, self.first + 4 + (self.instances if self.instances > 1 else 0))

    def taken(self) -> list[int]:
        """Those in use by somebody."""
        return [port for port in self.all if not _is_free(port)]


def choose_ports(instances: int, base_port: int | None = None, *, rather: int | None = None) -> Ports:
    """From `base_port` on; without one from `rather` on if those are free, else any. Raises StartError."""
    if base_port is not None:
        ports = Ports(base_port, instances)
        if taken := ports.taken():
            raise StartError(
                f"Port {taken[0]} is in use. The stack needs ports {ports.all[0]} to {ports.all[-1]}: "
                "end what uses them, or choose others with --base-port."
            )
        return ports
    if rather is not None and not (ports := Ports(rather, instances)).taken():
        return ports
    while True:
        ports = Ports(random.choice(_PREFERRED), instances)  # noqa: S311 - nothing secret
        if not ports.taken():
            return ports


class Stack:
    """One stack over a state directory: `start`, then `stop`. A new one over the same directory goes on."""

    def __init__(self, state: Path, *, ports: Ports | None = None, latency: Latency = "none") -> None:
        self.state = state
        self.endpoints: Endpoints
        self._ports = ports or choose_ports(1)
        self._latency = latency
        self._apps = Supervisor(drain_seconds=_DRAIN)
        self._stand_in: asyncio.subprocess.Process | None = None
        self._held = ExitStack()

    async def start(self) -> Endpoints:
        """Start everything and publish the endpoints. Raises RunningError, StartError."""
        self._held.enter_context(endpoints.lock(self.state))
        try:
            endpoints.withdraw(self.state)  # of one that was killed
            (self.state / "logs").mkdir(exist_ok=True)
            found = await self._start_stand_in()
            # An account's budget of listKeys is shared by all processes.
            found["env"] |= {"BULKHEAD_INSTANCES_AT_MOST": str(self._ports.instances)}
            await self._start_apps(found["env"])
            urls = list(self._apps.urls.values())
            self.endpoints = Endpoints(functions=self._apps.front_door, apps={"data": urls, "control": urls}, **found)
            async with Client(self.endpoints) as client:
                await client.control("PUT", "/latency", LATENCY_MS[self._latency])
            self.endpoints.publish(self.state)
        except BaseException:
            await self.stop()
            raise
        return self.endpoints

    async def failed(self) -> None:
        """Wait until the stand-in ends, or an app process for good, which neither ever should. Raises StartError."""
        assert self._stand_in is not None  # noqa: S101 - it was started
        ends: list[asyncio.Future[Any]] = [asyncio.create_task(self._stand_in.wait()), self._apps.failure]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ends[0].cancel()
        if self._apps.failure.done():
            raise self._apps.failure.result()
        raise StartError(
            f"The stand-in for Azure ended (status {self._stand_in.returncode}). Nothing that it acknowledged is lost: "
            f"start again. {self._end_of_log()}"
        )

    async def stop(self) -> None:
        """End everything; accepted work is finished at the next start over the same directory."""
        endpoints.withdraw(self.state)
        await self._apps.stop()
        if self._stand_in is not None and self._stand_in.returncode is None:
            self._stand_in.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stand_in.wait(), _DRAIN)
            if self._stand_in.returncode is None:
                self._stand_in.kill()
                await self._stand_in.wait()
        self._held.close()

    async def _start_apps(self, env: dict[str, str]) -> None:
        count = self._ports.instances
        names = ["functions"] if count == 1 else [f"functions-{number + 1}" for number in range(count)]
        specs = [HostSpec(name, PROJECT, self._ports.instance(number)) for number, name in enumerate(names)]
        await self._apps.start(specs, env, self.state, front_door_port=self._ports.front_door)

    async def _start_stand_in(self) -> dict[str, Any]:
        """Start the stand-in; gives what it says of itself."""
        ready = self.state / "standin.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "infra.local.standin", "--state", str(self.state.resolve())]
        command += ["--base-port", str(self._ports.stand_in), "--parent", str(os.getpid())]
        with self._log.open("ab") as log:
            self._stand_in = await asyncio.create_subprocess_exec(
                *command,
                cwd=PROJECT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is ours to pass on
            )
        deadline = time.monotonic() + _START_LIMIT
        while not ready.exists():
            if self._stand_in.returncode is not None or time.monotonic() > deadline:
                raise StartError(
                    f"The stand-in for Azure can't start. To begin afresh, remove '{self.state}' or choose another "
                    f"--state. {self._end_of_log()}"
                )
            await asyncio.sleep(_POLL)
        said: dict[str, Any] = json.loads(ready.read_text())
        return said

    @property
    def _log(self) -> Path:
        return self.state / "logs" / "stand-in.log"

    def _end_of_log(self) -> str:
        last = self._log.read_text(errors="replace").splitlines()[-10:]
        return "\n".join([f"The end of {self._log}:", *last]) if last else ""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
