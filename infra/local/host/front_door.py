"""One port for several instances: each connection goes to the next instance in turn, bytes pass unchanged.

Balancing connections instead of requests keeps every request as the client sent it (length, host, chunks), as a load
balancer below HTTP would. While no instance is up, a connection waits for one; after a while it is answered with 503,
as Azure's front end does.
"""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter

_CHUNK = 65536
_PAUSE = 0.05  # seconds between two looks for an instance
_LINGER = 1.0  # seconds for a refused client to finish its request: a close before would reset it, answer and all
_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: text/plain\r\nContent-Length: 27\r\n"
    b"Connection: close\r\n\r\nThe service is unavailable."
)


class FrontDoor:
    """A TCP round robin on a loopback port."""

    def __init__(self, ports: list[int], *, patience: float = 1.0) -> None:
        """`ports` of the instances on 127.0.0.1; one that does not answer is passed over.

        `patience` is how many seconds a connection waits while none does.
        """
        self._ports = ports
        self._patience = patience
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> int:
        """Listen; gives the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=1024)
        address: tuple[str, int] = self._server.sockets[0].getsockname()
        return address[1]

    def stop_listening(self) -> None:
        """Take no more connections; what is open goes on."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Listen no longer and end what is open."""
        self.stop_listening()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._open.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._pass(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _pass(self, reader: StreamReader, writer: StreamWriter) -> None:
        instance = await self._next_instance()
        if instance is None:
            await _refuse(reader, writer)
            return
        theirs, ours = instance
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, ours))
                group.create_task(_copy(theirs, writer))
        except* OSError:
            pass  # one side is gone; the other is closed with it
        finally:
            ours.close()

    async def _next_instance(self) -> tuple[StreamReader, StreamWriter] | None:
        time = asyncio.get_running_loop().time
        until = time() + self._patience
        while True:
            for _ in self._ports:
                port = self._ports[self._turn % len(self._ports)]
                self._turn += 1
                with contextlib.suppress(OSError):
                    return await asyncio.open_connection("127.0.0.1", port)
            if time() >= until:
                return None
            await asyncio.sleep(_PAUSE)


async def _refuse(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(_UNAVAILABLE)
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            while await reader.read(_CHUNK):
                pass


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
