"""The front door of several instances while none of them is up."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from yarl import URL

from infra.local.host.front_door import FrontDoor

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nup"


@pytest.fixture
def instance() -> Iterator[socket.socket]:
    """The place of an instance that does not listen yet: who connects is refused."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        yield place


@asynccontextmanager
async def opened(instance: socket.socket, patience: float) -> AsyncIterator[tuple[FrontDoor, str]]:
    door = FrontDoor([instance.getsockname()[1]], patience=patience)
    try:
        yield door, f"http://127.0.0.1:{await door.start()}/"
    finally:
        await door.stop()


async def test_without_an_instance_it_tells_when_to_come_again(instance: socket.socket) -> None:
    async with (
        opened(instance, 0.2) as (_, url),
        aiohttp.ClientSession() as session,
        session.get(url) as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.content_type == "text/plain"
        assert await answer.text() == "The service is unavailable."


async def test_who_sends_much_before_reading_is_told_too(instance: socket.socket) -> None:
    async with opened(instance, 0) as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
        writer.write(b"x" * 20_000_000)  # more than the buffers of both ends take
        await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()
        await writer.wait_closed()


async def test_it_waits_for_an_instance_to_come_up(instance: socket.socket) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        writer.close()

    async with opened(instance, 30) as (door, url), aiohttp.ClientSession() as session:
        asked = asyncio.create_task(session.get(url))
        async with asyncio.timeout(10):
            while door._turn < 2:  # noqa: ASYNC110 - it has looked in vain
                await asyncio.sleep(0.01)
        async with await asyncio.start_server(serve, sock=instance), await asked as answer:
            assert (answer.status, await answer.text()) == (200, "up")
