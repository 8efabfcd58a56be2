"""One host process: reads host.json and the settings, loads the application, runs its triggers until told to stop."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from infra.local.host.bus_listener import Listener
from infra.local.host.host_file import read_host_file
from infra.local.host.http_server import DEFAULT_BODY_LIMIT, HttpServer
from infra.local.host.invocation import Invoker
from infra.local.host.keys import Keys
from infra.local.host.logs import HOST, capture_python_logging, log_failure, set_levels
from infra.local.host.settings import Settings
from infra.local.host.timers import Timer
from infra.local.host.worker import Worker


class Host:
    """A Functions host for one application. Use: `start`, wait for whatever ends it, `stop`."""

    def __init__(self, app: Path, state: Path, name: str, environment: Mapping[str, str]) -> None:
        """`app` holds function_app.py and host.json; `state` is shared by the application's processes."""
        self._app = app.resolve()
        self._state = state.resolve()
        self._name = name
        self._settings = Settings(environment)
        self._worker = Worker()
        self._timers: list[asyncio.Task[None]] = []
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self, port: int) -> int:
        """Load the application and start its triggers; gives the HTTP port. Raises StartError."""
        options = read_host_file(self._app / "host.json")
        set_levels(options.logging.log_level)
        self._invoker = invoker = Invoker(self._worker, options.function_timeout, self._give_up)
        capture_python_logging(invoker.user_category)
        functions = await self._worker.load(self._app)
        settings = self._settings
        HOST.info("Found the following functions (%d):", len(functions))
        for function in functions:
            off = " (disabled)" if settings.is_disabled(function.name) else ""
            HOST.info("Host.Functions.%s: %s%s", function.name, function.trigger_type, off)
        by_trigger = {
            kind: [f for f in functions if f.trigger_type == kind and not settings.is_disabled(f.name)]
            for kind in ("httpTrigger", "serviceBusTrigger", "timerTrigger")
        }
        timers = [Timer(f, settings, self._state / "timers", invoker) for f in by_trigger["timerTrigger"]]
        bus = options.extensions.service_bus
        self._listeners = [Listener(f, settings, bus, invoker) for f in by_trigger["serviceBusTrigger"]]
        keys = Keys(self._state / "keys.json", [f.name for f in functions if f.trigger_type == "httpTrigger"])
        prefix = options.extensions.http.route_prefix.strip("/")
        limit = int(settings.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT") or DEFAULT_BODY_LIMIT)
        self._http = HttpServer(by_trigger["httpTrigger"], prefix, keys, invoker, limit)
        bound = await self._http.start(port)
        for route in self._http.routes:
            methods = ",".join(sorted(route.methods)) or "ANY"
            HOST.info("%s: [%s] http://127.0.0.1:%d/%s", route.target.name, methods, bound, route.template)
        for listener in self._listeners:
            listener.start()
        self._timers = [asyncio.create_task(timer.run()) for timer in timers]
        for task in self._timers:
            task.add_done_callback(log_failure)
        HOST.info("Host started (%s, process %d).", self._name, os.getpid())
        return bound

    async def stop(self, limit: float) -> None:
        """Take no more work, let running invocations end for at most `limit` seconds, abandon the rest."""
        HOST.info("Host is draining: %d invocations are running.", self._invoker.running)
        self._http.stop_listening()
        for listener in self._listeners:
            listener.stop_receiving()
        for task in self._timers:
            task.cancel()
        await self._invoker.drain(limit)
        if self._timers:
            await asyncio.wait(self._timers, timeout=1)
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
        await self._http.stop()
        self._worker.stop()
        HOST.info("Host stopped.")

    def _give_up(self, text: str) -> None:
        if not self.failure.done():
            self.failure.set_result(text)
