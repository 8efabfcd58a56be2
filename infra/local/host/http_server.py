"""The HTTP side of the host: routes, access keys, size limit, HTTP functions."""

import asyncio
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from infra.local.host.errors import StartError
from infra.local.host.http_data import empty, request_datum, response
from infra.local.host.invocation import Invoker
from infra.local.host.keys import Keys
from infra.local.host.logs import HOST
from infra.local.host.routes import Route, RouteTable
from infra.local.host.worker import Function

DEFAULT_BODY_LIMIT = 104_857_600  # bytes; Source: "HTTP trigger: limits"
_REASON = "This function was programmatically called via the host APIs."


class HttpServer:
    """Serves the HTTP functions of one application on a loopback port."""

    def __init__(self, functions: list[Function], prefix: str, keys: Keys, invoker: Invoker, body_limit: int) -> None:
        """Take HTTP functions in Azure's order; routes begin with `prefix`. Raises StartError for a bad route."""
        self._keys = keys
        self._invoker = invoker
        self._body_limit = body_limit
        self.routes = [_route(function, prefix) for function in functions]
        self._table = RouteTable(self.routes)
        for hidden, hiding in self._table.hidden_routes():
            HOST.warning(
                "Route '%s' of function '%s' is hidden by route '%s' of function '%s': "
                "Azure tries routes in the order of the functions' names.",
                hidden.template, hidden.target.name, hiding.template, hiding.target.name,
            )  # fmt: skip
        self._server: asyncio.Server | None = None
        self._protocol: web.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1; `port` 0 takes a free one. Gives the port. Raises StartError when it is taken."""
        # A low-level server: aiohttp's router and middlewares are not needed. Bodies stay as they were sent.
        self._protocol = web.Server(
            self._handle, access_log=None, logger=_LOGGER, auto_decompress=False, max_field_size=32768
        )
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._protocol, "127.0.0.1", port, backlog=1024
            )
        except OSError as error:
            raise StartError(f"Port {port} is unavailable: {error.strerror}.") from None
        address: tuple[str, int] = self._server.sockets[0].getsockname()
        return address[1]

    def stop_listening(self) -> None:
        """Take no more connections and no more requests on idle ones."""
        if self._server is not None and self._protocol is not None:
            self._server.close()
            self._protocol.pre_shutdown()

    async def stop(self) -> None:
        """End what connections remain."""
        if self._protocol is not None:
            await self._protocol.shutdown(timeout=1)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if found := self._table.find(request.method, path):
            return await self._invoke(request, *found)
        if path == "/":
            return web.Response(text="Your Functions 4.0 app is up and running.", headers={"Server": "Kestrel"})
        return empty(404)

    async def _invoke(self, request: web.BaseRequest, function: Function, values: dict[str, str]) -> web.StreamResponse:
        level = str(function.trigger.get("authLevel") or "function").lower()
        key = request.headers.get("x-functions-key") or request.rel_url.query.get("code") or ""
        if not self._keys.allows(level, key, function.name):
            return empty(401)
        if (request.content_length or 0) > self._body_limit:
            answer = empty(413)
            answer.force_close()
            return answer
        body = await self._body(request)
        data = request_datum(request, values, body)
        parent = request.headers.get("traceparent", "")
        outcome = await self._invoker.run(function, data, {}, _REASON, trace_parent=parent)
        if not outcome.succeeded or outcome.value is None:
            return empty(500)
        return response(outcome.value)

    async def _body(self, request: web.BaseRequest) -> bytes:
        if not request.content_length:
            return b""
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await request.content.read()


class _WithoutItsText(logging.Filter):
    """A request that cannot be read is logged without its text: a header of it may hold a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the error that quotes it."""
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.exc_info = None
        return True


_LOGGER = logging.getLogger("aiohttp.server")
_LOGGER.addFilter(_WithoutItsText())


def _route(function: Function, prefix: str) -> Route[Function]:
    template = str(function.trigger.get("route") or function.name)
    methods = frozenset(str(method).upper() for method in function.trigger.get("methods") or ())
    try:
        return Route(f"{prefix}/{template.lstrip('/')}" if prefix else template, methods, function)
    except StartError as error:
        raise StartError(f"Function '{function.name}': {error}") from None
