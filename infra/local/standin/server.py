"""The HTTP side of the stand-in: takes each request to its service through the journal, latency and faults."""

import asyncio
import json
import ssl
import sys
import traceback
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from infra.local.standin.proxy import ConnectProxy
from infra.local.standin.wire import Answer, Call, HttpService, ServiceName, World

LOOPBACK = "127.0.0.1"
IDENTITY_PATH = "/msi/token"  # as on Azure Functions, where IDENTITY_ENDPOINT is http://{address}/msi/token
_LARGEST_BODY = 4 * 1024 * 1024  # bytes; Azure Cosmos DB and Resource Manager take no more
_LAST_WORDS = 0.1  # seconds for requests under way at the end; 0 would mean no limit
_GONE = 0  # status in the journal of a request that got no answer


class Dispatcher:
    """Answers requests to Azure's host names. `services` maps a host name, or `*.suffix`, to its service."""

    def __init__(self, world: World, services: Mapping[str, HttpService]) -> None:
        self._world = world
        self._services = services

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request that came through the proxy."""
        host = request.host.partition(":")[0].lower()
        service = self._services.get(host) or self._services.get(f"*.{host.partition('.')[2]}")
        if service is None:
            return web.Response(status=421, text=f"The stand-in for Azure does not play {host}.")
        return await self.carry_out(service, host, request)

    async def carry_out(self, service: HttpService, host: str, request: web.BaseRequest) -> web.StreamResponse:
        """One request to one service: routed, struck by a fault, handled, delayed, journalled, answered."""
        connection = request.protocol
        arrived = connection.arrived if isinstance(connection, Connection) else asyncio.get_running_loop().time()
        path, _, _ = request.raw_path.partition("?")
        call = Call(request.method, host, path, request.query, request.headers, await request.read())
        handler = service.route(call)
        rule = self._world.weather.strike(service.name, call.operation, call.target)
        if rule and rule.delay_ms:  # held on its way: it meets the state at its end
            await asyncio.sleep(rule.delay_ms / 1000)
            arrived += rule.delay_ms / 1000
        if rule and rule.drop in (True, "request"):
            answer = Answer(204)  # which is never sent
        elif rule and rule.status is not None:
            answer = service.error(rule.status, rule.retry_after)
        elif handler is None:
            answer = service.error(501, None)
        else:
            try:
                answer = handler()
            except Exception:  # noqa: BLE001 - a defect of one service must not end the connection's other requests
                traceback.print_exc(file=sys.stderr)
                answer = service.error(500, None)
        response = _response(answer, _trace_headers(service.name, call))
        await response.prepare(request)  # as much as can be done before the latency is over
        await self._world.weather.delay(service.name, arrived)
        status = _GONE if rule and rule.drop else answer.status
        self._world.journal.record(
            service.name, call.operation, call.principal, call.target, status, call.correlation_id
        )
        if status == _GONE and request.transport is not None:
            request.transport.abort()  # so the response can't be written any more
        return response


def _trace_headers(service: ServiceName, call: Call) -> dict[str, str]:
    """Ids by which Azure lets a caller follow a request; the caller's own come back in the header it used.

    Sources: learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling (headers),
    azure-core's RequestIdPolicy (x-ms-client-request-id), MSAL (client-request-id). Cosmos DB sets its own.
    """
    if service == "cosmos":
        return {}
    headers = {"x-ms-request-id": str(uuid.uuid4())}
    if service == "resource_manager":
        headers["x-ms-correlation-request-id"] = call.headers.get("x-ms-correlation-request-id", str(uuid.uuid4()))
    names = ("x-ms-client-request-id", "client-request-id")
    return headers | {name: value for name in names if (value := call.headers.get(name))}


def _response(answer: Answer, headers: dict[str, str]) -> web.Response:
    headers |= answer.headers
    if isinstance(answer.body, str):
        return web.Response(status=answer.status, text=answer.body, headers=headers)
    body = answer.body
    if not isinstance(body, bytes):
        headers.setdefault("Content-Type", "application/json; charset=utf-8")
        body = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(status=answer.status, body=body, headers=headers)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """The request as aiohttp makes it, but with Azure's limit to the body."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_LARGEST_BODY)


class Connection(RequestHandler):
    """A connection that came through the proxy, and when something last arrived on it (loop time)."""

    __slots__ = ("arrived",)

    def data_received(self, data: bytes) -> None:
        """Take what arrived. Reading a request out of it is a part of the service's work, so of its latency."""
        self.arrived = asyncio.get_running_loop().time()
        super().data_received(data)


@asynccontextmanager
async def listening(
    dispatcher: Dispatcher, context: ssl.SSLContext, plain: web.Application, control_port: int, proxy_port: int
) -> AsyncIterator[tuple[int, int]]:
    """The two loopback ports of the HTTP side: the plain one for control and identity, and the CONNECT proxy.

    Gives both, (control, proxy), which are free ones where 0 is asked for, and closes every connection at the end.
    """
    loop = asyncio.get_running_loop()
    azure = web.Server(dispatcher.handle, request_factory=_request)
    runner = web.AppRunner(plain, access_log=None, shutdown_timeout=_LAST_WORDS)
    proxy = await loop.create_server(
        lambda: ConnectProxy(lambda: Connection(azure, loop=loop, access_log=None), context),  # type: ignore[arg-type]  # no log
        LOOPBACK,
        proxy_port,
        backlog=1024,
    )
    try:
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, control_port).start()
        yield runner.addresses[0][1], proxy.sockets[0].getsockname()[1]
    finally:
        proxy.close()
        await azure.shutdown(_LAST_WORDS)
        await runner.cleanup()
