"""The host's admin endpoints, for the master key only: status, the list of functions, firing one by hand.

Sources: "Manually run a non HTTP-triggered function"; the host's HostController and FunctionsController.
"""

import asyncio
import json
import os
import platform
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from infra.local.host.http_data import empty
from infra.local.host.http_server import request_key
from infra.local.host.keys import Keys
from infra.local.host.settings import Settings
from infra.local.host.worker import Function

type Fire = Callable[[Function, str], Awaitable[None]]

_VERSION = "4.0.0.0"


class AdminEndpoints:
    """Answers requests below `/admin/`."""

    def __init__(self, name: str, functions: list[Function], keys: Keys, settings: Settings, fire: Fire) -> None:
        """`fire` runs a function with an input text, in the background of the request."""
        self._name = name
        self._functions = {function.name.lower(): function for function in functions}
        self._keys = keys
        self._settings = settings
        self._fire = fire
        self._started = time.monotonic()
        self._instance = uuid.uuid4().hex
        self._fired: set[asyncio.Task[None]] = set()
        self.state = "Running"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request. `GET /admin/host/ping` needs no key."""
        path = request.rel_url.raw_path.lower().rstrip("/")
        if path == "/admin/host/ping" and request.method in ("GET", "POST"):
            return empty(200)
        if not self._keys.allows("admin", request_key(request)):
            return empty(401)
        content: Any
        match request.method, path.split("/")[2:]:
            case "GET", ["host", "status"]:
                content = self._status()
            case "GET", ["functions"]:
                content = [self._describe(function) for function in self._functions.values()]
            case "GET", ["functions", name] if name in self._functions:
                content = self._describe(self._functions[name])
            case "POST", ["functions", name] if name in self._functions:
                return await self._run(request, self._functions[name])
            case _:
                return empty(404)
        return web.json_response(content)

    async def _run(self, request: web.BaseRequest, function: Function) -> web.StreamResponse:
        try:
            content = json.loads(await request.read() or b"{}")
        except ValueError:
            return empty(400)
        if not isinstance(content, dict) or function.trigger_type == "httpTrigger":
            return empty(400)
        given = content.get("input", "")
        task = asyncio.ensure_future(self._fire(function, given if isinstance(given, str) else json.dumps(given)))
        self._fired.add(task)
        task.add_done_callback(self._fired.discard)
        return empty(202)

    def _status(self) -> dict[str, Any]:
        return {
            "id": self._name,
            "state": self.state,
            "version": _VERSION,
            "versionDetails": f"{_VERSION} local",
            "instanceId": self._instance,
            "computerName": platform.node(),
            "processUptime": round((time.monotonic() - self._started) * 1000),
            "processId": os.getpid(),
        }

    def _describe(self, function: Function) -> dict[str, Any]:
        return {
            "name": function.name,
            "language": "python",
            "isDisabled": self._settings.is_disabled(function.name),
            "config": {"name": function.name, "language": "python", "bindings": function.bindings},
        }
