"""The HTTP side of the host: routes, access keys, size limit, HTTP functions; the admin endpoints are in admin.py."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage

from infra.local.host.errors import StartError
from infra.local.host.host_file import HostOptions
from infra.local.host.http_data import empty, request_datum, response
from infra.local.host.invocation import API_REASON, Invoker
from infra.local.host.keys import AuthLevel, Keys
from infra.local.host.logs import HostLog
from infra.local.host.routes import Route, RouteTable
from infra.local.host.settings import Settings
from infra.local.host.worker import Function

DEFAULT_BODY_LIMIT = 104_857_600  # bytes; Source: "HTTP trigger: limits"
_LEVELS: dict[str, AuthLevel] = {"anonymous": "anonymous", "function": "function", "admin": "admin"}

type Admin = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves the HTTP functions of one application on a loopback port."""

    def __init__(
        self,
        functions: list[Function],
        invoker: Invoker,
        options: HostOptions,
        keys: Keys,
        settings: Settings,
        log: HostLog,
        admin: Admin,
    ) -> None:
        """Take the HTTP functions of `functions`, in Azure's order. Raises StartError for a bad route."""
        self._invoker = invoker
        self._keys = keys
        self._log = log
        self._admin = admin
        self._body_limit = int(settings.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT") or DEFAULT_BODY_LIMIT)
        routes = [_route(function, options.route_prefix) for function in functions if not _is_off(function, settings)]
        self.routes = [route for route in routes if route is not None]
        self._table = RouteTable(self.routes)
        for hidden, hiding in self._table.hidden_routes():
            log.host_warning(
                f"Route '{hidden.template}' of function '{hidden.target.name}' is hidden by route '{hiding.template}' "
                f"of function '{hiding.target.name}': Azure tries routes in the order of the functions' names."
            )
        self._server: asyncio.Server | None = None
        self._protocol: web.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1; `port` 0 takes a free one. Gives the port. Raises StartError when it is taken."""
        loop = asyncio.get_running_loop()

        def request(
            message: RawRequestMessage,
            payload: StreamReader,
            protocol: web.RequestHandler,
            writer: AbstractStreamWriter,
            task: "asyncio.Task[None]",
        ) -> web.BaseRequest:
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._body_limit)

        # A low-level server: aiohttp's router and middlewares are not needed. Bodies stay as they were sent.
        self._protocol = web.Server(
            self._handle,
            request_factory=request,
            access_log=None,
            logger=_LOGGER,
            auto_decompress=False,
            max_field_size=32768,
        )
        try:
            self._server = await loop.create_server(self._protocol, "127.0.0.1", port, backlog=1024)
        except OSError as error:
            raise StartError(f"Port {port} is unavailable: {error.strerror}.") from None
        address: tuple[str, int] = self._server.sockets[0].getsockname()
        return address[1]

    async def stop_listening(self) -> None:
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
        if path.lower().startswith("/admin/"):
            return await self._admin(request)
        if found := self._table.find(request.method, path):
            return await self._invoke(request, *found)
        if path == "/":
            return web.Response(text="Your Functions 4.0 app is up and running.", headers={"Server": "Kestrel"})
        return empty(404)

    async def _invoke(self, request: web.BaseRequest, function: Function, values: dict[str, str]) -> web.StreamResponse:
        level = _LEVELS[str(function.trigger.get("authLevel") or "function").lower()]
        if level != "anonymous" and not self._keys.allows(level, request_key(request), function.name):
            return empty(401)
        if (request.content_length or 0) > self._body_limit:
            answer = empty(413)
            answer.force_close()
            return answer
        body = await self._body(request)
        outcome = await self._invoker.run(
            function,
            request_datum(request, values, body),
            {},
            API_REASON,
            trace_parent=request.headers.get("traceparent", ""),
        )
        if not outcome.succeeded or outcome.value is None:
            return empty(500)
        return response(outcome.value)

    async def _body(self, request: web.BaseRequest) -> bytes:
        if not request.content_length:
            return b""
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await request.read()


class _WithoutItsText(logging.Filter):
    """A request that cannot be read is logged without its text: a header of it may hold a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the error that quotes it."""
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.exc_info = None
        return True


_LOGGER = logging.getLogger("aiohttp.server")
_LOGGER.addFilter(_WithoutItsText())


def request_key(request: web.BaseRequest) -> str:
    """The access key that a request carries: header `x-functions-key`, else query parameter `code`."""
    return str(request.headers.get("x-functions-key") or request.rel_url.query.get("code", ""))


def _is_off(function: Function, settings: Settings) -> bool:
    return function.trigger_type != "httpTrigger" or settings.is_disabled(function.name)


def _route(function: Function, prefix: str) -> Route[Function] | None:
    template = str(function.trigger.get("route") or function.name)
    methods = frozenset(str(method).upper() for method in function.trigger.get("methods") or ())
    try:
        return Route(f"{prefix}/{template.lstrip('/')}" if prefix else template, methods, function)
    except StartError as error:
        raise StartError(f"Function '{function.name}': {error}") from None
