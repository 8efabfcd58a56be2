"""One host process: reads host.json and the settings, loads the application, runs its triggers until told to stop."""

import asyncio
import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path

from infra.local.host.admin import AdminEndpoints
from infra.local.host.errors import StartError
from infra.local.host.host_file import read_host_file
from infra.local.host.http_server import HttpServer
from infra.local.host.invocation import Invoker
from infra.local.host.keys import Keys
from infra.local.host.logs import HostLog, capture_python_logging, log_failure
from infra.local.host.service_bus import ServiceBusTriggers
from infra.local.host.settings import Settings
from infra.local.host.timers import Timer
from infra.local.host.worker import Function, Worker
from infra.local.processes import write_whole

_TRIGGERS = ("httpTrigger", "serviceBusTrigger", "timerTrigger")


class Host:
    """A Functions host for one application. Use: `start`, wait for whatever ends it, `stop`."""

    def __init__(self, app: Path, state: Path, name: str, environment: Mapping[str, str]) -> None:
        """`app` holds function_app.py and host.json; `state` is shared by the application's processes."""
        self._app = app.resolve()
        self._state = state.resolve()
        self._name = name
        self._settings = Settings(environment)
        self._worker = Worker()
        self._tasks: list[asyncio.Task[None]] = []
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self, port: int) -> int:
        """Load the application and start its triggers; gives the HTTP port. Raises StartError."""
        options = read_host_file(self._app / "host.json")
        self.log = HostLog(options)
        self.invoker = Invoker(self._worker, options, self.log, self._give_up)
        capture_python_logging(self.log, self.invoker.user_category)
        functions = await self._worker.load(self._app)
        for function in functions:
            if function.trigger_type not in _TRIGGERS:
                raise StartError(
                    f"Function '{function.name}': the trigger type '{function.trigger_type}' is not supported locally."
                )
        self._report(functions)
        enabled = [function for function in functions if not self._settings.is_disabled(function.name)]
        timers = {
            function.name: Timer(function, self._settings, self._state / "timers", self.invoker, self.log)
            for function in functions
            if function.trigger_type == "timerTrigger"
        }
        self._bus = ServiceBusTriggers(
            [function for function in enabled if function.trigger_type == "serviceBusTrigger"],
            options.service_bus,
            self._settings,
            self.invoker,
            self.log,
        )

        async def fire(function: Function, given: str) -> None:
            if function.name in timers:
                await timers[function.name].fire()
            else:
                await self._bus.fire(function, given)

        keys = Keys(self._state / "keys.json", [f.name for f in functions if f.trigger_type == "httpTrigger"])
        self._admin = AdminEndpoints(self._name, functions, keys, self._settings, fire)
        self._http = HttpServer(functions, self.invoker, options, keys, self._settings, self.log, self._admin.handle)
        bound = await self._http.start(port)
        for route in self._http.routes:
            methods = ",".join(sorted(route.methods)) or "ANY"
            self.log.host(f"{route.target.name}: [{methods}] http://127.0.0.1:{bound}/{route.template}")
        self._bus.start()
        self._tasks = [asyncio.create_task(timer.run()) for timer in timers.values() if timer.function in enabled]
        for task in self._tasks:
            task.add_done_callback(functools.partial(log_failure, self.log))
        self.log.host(f"Host started ({self._name}, process {os.getpid()}).")
        return bound

    async def stop(self, limit: float) -> None:
        """Take no more work, let running invocations end for at most `limit` seconds, abandon the rest."""
        self._admin.state = "Stopping"
        self.log.host(f"Host is draining: {self.invoker.running} invocations are running.")
        await self._http.stop_listening()
        self._bus.stop_receiving()
        for task in self._tasks:
            task.cancel()
        await self.invoker.drain(limit)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        await self._bus.stop()
        await self._http.stop()
        self._worker.stop()
        self.log.host("Host stopped.")

    def _give_up(self, text: str) -> None:
        if not self.failure.done():
            self.failure.set_result(text)

    def _report(self, functions: list[Function]) -> None:
        self.log.host(f"Found the following functions ({len(functions)}):")
        for function in functions:
            off = " (disabled)" if self._settings.is_disabled(function.name) else ""
            self.log.host(f"Host.Functions.{function.name}: {function.trigger_type}{off}")


def announce(path: Path, port: int) -> None:
    """Write the ready file, whole or not at all: `{"url", "pid"}`."""
    write_whole(path, json.dumps({"url": f"http://127.0.0.1:{port}", "pid": os.getpid()}))
