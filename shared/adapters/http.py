"""The HTTP connections that all Azure clients of this process share."""

from typing import Any, cast

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpResponse, HttpRequest

from shared.core.context import REQUEST_ID

_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10, sock_read=30)


def open_session(proxy: str | None) -> aiohttp.ClientSession:
    """A session whose connections stay warm. `proxy` is the URL of an outgoing proxy, if there is one."""
    return aiohttp.ClientSession(
        proxy=proxy,
        timeout=_TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # the SDKs decompress
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=90),
    )


class SharedTransport(AioHttpTransport):  # type: ignore[misc]  # azure-core exports it lazily, untyped
    """An azure-core transport on the shared session. Sends the invocation's id along as Azure's correlation id."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(session=session, session_owner=False, use_env_settings=False)

    async def send(self, request: HttpRequest, **config: Any) -> AsyncHttpResponse:
        """Send one request."""
        if request_id := REQUEST_ID.get():
            request.headers["x-ms-client-request-id"] = request_id
            request.headers["x-ms-correlation-request-id"] = request_id
        return cast(AsyncHttpResponse, await super().send(request, **config))

    async def open(self) -> None:
        """Nothing to open: the session is open for the life of the process."""

    async def close(self) -> None:
        """Nothing to close: a client that ends leaves the shared session open."""
