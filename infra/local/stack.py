"""The local stack as one thing: the stand-in for Azure and the app's host processes, started and ended together."""

import asyncio
import json
import random
import socket
from asyncio.subprocess import Process
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from infra.local import endpoints
from infra.local.children import PROJECT, end, end_of, is_ready, spawn
from infra.local.client import Client
from infra.local.endpoints import Endpoints
from infra.local.host.errors import StartError
from infra.local.host.supervisor import Supervisor

type Latency = Literal["azure", "none"]

LATENCY_MS: dict[Latency, dict[str, float]] = {
    "none": {},
    # What a service takes inside one Azure region, in milliseconds.
    "azure": {
        "key_vault": 15, "entra": 60, "resource_manager": 120, "graph": 120, "cosmos": 5, "service_bus": 3,
        "managed_identity": 2,
    },
}  # fmt: skip

_DRAIN = 5.0  # seconds that running invocations have when the stack ends
_START_LIMIT = 30.0  # seconds for the stand-in to become ready
_PREFERRED = range(20_000, 32_000)  # below the ports from which systems take those of outgoing connections


@dataclass(frozen=True, slots=True)
class Ports:
    """Consecutive ports: the front door, three of the stand-in, then one of each host process behind a front door."""

    first: int
    instances: int

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
        self._stand_in: Process | None = None
        self._log = state / "logs" / "stand-in.log"
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
            urls = await self._start_apps(found["env"])
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
        apps = [process.keeping for process in self._apps.processes.values() if process.keeping]
        ended = asyncio.create_task(self._stand_in.wait())
        try:
            await asyncio.wait([ended, *apps], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        for app in apps:
            if app.done():
                await app
        raise StartError(
            f"The stand-in for Azure ended (status {self._stand_in.returncode}). Nothing that it acknowledged is lost: "
            f"start again. {self._end_of_log()}"
        )

    async def stop(self) -> None:
        """End everything; accepted work is finished at the next start over the same directory."""
        endpoints.withdraw(self.state)
        await self._apps.stop()
        if self._stand_in is not None:
            await end(self._stand_in, _DRAIN)
        self._held.close()

    async def _start_apps(self, env: dict[str, str]) -> list[str]:
        count = self._ports.instances
        names = ["functions"] if count == 1 else [f"functions-{number + 1}" for number in range(count)]
        ports = {name: self._ports.instance(number) for number, name in enumerate(names)}
        await self._apps.start(PROJECT, ports, env, self.state, front_door_port=self._ports.first)
        return [process.url for process in self._apps.processes.values()]

    async def _start_stand_in(self) -> dict[str, Any]:
        """Start the stand-in; gives what it says of itself."""
        ready = self.state / "standin.json"
        ready.unlink(missing_ok=True)
        self._stand_in = await spawn(
            "infra.local.standin", "--state", self.state.resolve(), "--base-port", self._ports.stand_in,
            log=self._log, env={},
        )  # fmt: skip
        if not await is_ready(self._stand_in, ready, _START_LIMIT):
            raise StartError(
                f"The stand-in for Azure can't start. To begin afresh, remove '{self.state}' or choose another "
                f"--state. {self._end_of_log()}"
            )
        said: dict[str, Any] = json.loads(ready.read_text())
        return said

    def _end_of_log(self) -> str:
        last = end_of(self._log, 10)
        return f"The end of {self._log}:\n{last}" if last else ""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
