"""The loopback CONNECT proxy through which clients reach the stand-in under Azure's real host names.

The socket of an accepted CONNECT is upgraded to TLS in place and handed to the HTTP server, so no byte is copied
between sockets. Any host that the stand-in does not play is refused: nothing leaves the machine this way.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Literal

from aiohttp.web_protocol import RequestHandler

from infra.local.standin.certificates import names_host

_LONGEST_HEAD = 8192  # bytes


class ConnectProxy(asyncio.Protocol):
    """One connection to the proxy. `serve` makes the HTTP server's protocol for a tunnel."""

    def __init__(self, serve: Callable[[], RequestHandler], context: ssl.SSLContext) -> None:
        self._serve = serve
        self._context = context
        self._head = bytearray()
        self._transport: asyncio.Transport
        self._upgrade: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the answer and the upgrade."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server gives nothing else
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect the request's head, then answer it."""
        self._head += data
        if b"\r\n\r\n" not in self._head:
            if len(self._head) > _LONGEST_HEAD:
                self._refuse(431, "Request Header Fields Too Large", "The request's head is too long.")
            return
        method, _, rest = self._head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        authority = rest.partition(" ")[0]
        host, _, port = authority.rpartition(":")
        if method != "CONNECT":
            self._refuse(405, "Method Not Allowed", "This proxy only opens tunnels (CONNECT).")
        elif port != "443" or not names_host(host.lower()):
            self._refuse(403, "Forbidden", f"The stand-in for Azure does not play {authority}.")
        else:
            self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._upgrade = asyncio.get_running_loop().create_task(self._start_tls())

    async def _start_tls(self) -> None:
        handler = self._serve()
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport, handler, self._context, server_side=True
            )
        except (OSError, ssl.SSLError):
            return  # the client went away, or does not trust the stand-in's certificate; it knows best
        if transport is None:
            return  # the client went away
        # The first request may already have reached the handler with the end of the handshake; it queues it.
        handler.connection_made(transport)

    def _refuse(self, status: Literal[403, 405, 431], phrase: str, text: str) -> None:
        body = text.encode()
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        self._transport.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        self._transport.close()
