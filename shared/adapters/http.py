"""The HTTP connections that all Azure clients of this process share, and what those of the five steps do on them."""

from typing import Any, cast

import aiohttp
from azure.core.pipeline.policies import ContentDecodePolicy, UserAgentPolicy
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpResponse, HttpRequest

from shared.core.context import REQUEST_ID

_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10, sock_read=30)

PLAIN_POLICIES = (UserAgentPolicy("bulkhead", user_agent_use_env=False), ContentDecodePolicy())
"""For the clients of the steps. No retries, which are the broker's; no redirects, which would carry a credential to
another host; no logging of requests and answers. They are also what makes the SDKs' own lists slow."""


def open_session() -> aiohttp.ClientSession:
    """A session whose connections stay warm."""
    return aiohttp.ClientSession(
        timeout=_TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # the SDKs decompress
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=90),
    )


class SharedTransport(AioHttpTransport):  # type: ignore[misc]  # azure-core exports it lazily, untyped
    """An azure-core transport on the shared session. Sends the invocation's id along as Azure's correlation id."""

    def __init__(self, session: aiohttp.ClientSession, proxy: str | None) -> None:
        """`proxy` is the URL of an outgoing proxy for https, if there is one."""
        super().__init__(session=session, session_owner=False, use_env_settings=False)
        self.proxy = proxy

    async def send(self, request: HttpRequest, **config: Any) -> AsyncHttpResponse:
        """Send one request."""
        if request_id := REQUEST_ID.get():
            request.headers["x-ms-client-request-id"] = request_id
            request.headers["x-ms-correlation-request-id"] = request_id
        if self.proxy is not None and request.url.startswith("https:"):  # the managed identity's endpoint is local http
            config["proxy"] = self.proxy
        return cast(AsyncHttpResponse, await super().send(request, **config))

    async def open(self) -> None:
        """Nothing to open: the session is open for the life of the process."""

    async def close(self) -> None:
        """Nothing to close: a client that ends leaves the shared session open."""
