"""One warm client for many keys: a transport that signs each request with the key of whoever is asking.

Shows that every request of the SDK, its background reads of the account included, can be signed below the SDK, with
resource type and link derived from the URL alone.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import pytest
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport
from azure.cosmos import exceptions
from azure.cosmos.aio import ContainerProxy, CosmosClient

KEY: ContextVar[bytes] = ContextVar("KEY")
UNUSABLE = base64.b64encode(b"no key at all").decode()


class SigningTransport(AsyncHttpTransport[Any, Any]):
    """Replaces the Authorization header just before a request leaves."""

    def __init__(self, inner: AioHttpTransport) -> None:
        self._inner = inner
        self.signed: list[str] = []  # method and type of resource

    async def send(self, request: Any, **options: Any) -> Any:
        segments = [unquote(part) for part in urlsplit(request.url).path.split("/") if part]
        feed = len(segments) % 2
        kind = "" if not segments else segments[-1] if feed else segments[-2]
        link = "/".join(segments[:-1] if feed else segments)
        text = f"{request.method.lower()}\n{kind}\n{link}\n{request.headers['x-ms-date'].lower()}\n\n"
        signature = base64.b64encode(hmac.digest(KEY.get(), text.encode(), hashlib.sha256)).decode()
        self.signed.append(f"{request.method} {kind}")
        request.headers["authorization"] = quote(f"type=master&ver=1.0&sig={signature}", safe="")
        return await self._inner.send(request, **options)

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return


@contextmanager
def holding(key: str) -> Iterator[None]:
    token = KEY.set(base64.b64decode(key))
    try:
        yield
    finally:
        KEY.reset(token)


@pytest.mark.plays(
    "cosmos", "batch create_item delete_item patch_item query query_plan read_item replace_item upsert_item"
)
async def test_every_request_can_be_signed_below_the_client(
    account: Any, container: ContainerProxy, options: dict[str, Any]
) -> None:
    # azure-cosmos _global_endpoint_manager.py: the account is read again in the background.
    with holding(account.keys["primary"]):
        transport = SigningTransport(options["transport"])
        async with CosmosClient(account.endpoint, UNUSABLE, transport=transport) as client:
            items = client.get_database_client("suite").get_container_client(container.id)
            odd = "odd id é+&=%"
            await items.create_item({"id": odd, "pk": "p", "n": 1})
            await items.upsert_item({"id": "b", "pk": "q", "n": 2})
            await items.read_item(odd, "p")
            await items.replace_item("b", {"id": "b", "pk": "q", "n": 3})
            await items.patch_item("b", "q", [{"op": "incr", "path": "/n", "value": 1}])
            await items.execute_item_batch(
                [("create", ({"id": "c", "pk": "q"},)), ("upsert", ({"id": "e", "pk": "q"},))], "q"
            )
            text = "SELECT * FROM c WHERE c.n > 0 ORDER BY c.n DESC"
            assert [item["n"] async for item in items.query_items(text)] == [4, 1]
            assert len([item async for item in items.query_items("SELECT * FROM c")]) == 4
            await items.delete_item("c", "q")
            manager = client.client_connection._global_endpoint_manager
            manager.refresh_needed = True  # as every five minutes: the account is read again in the background
            await items.read_item(odd, "p")
            await asyncio.wait_for(manager.refresh_task, 10)
            made = set(transport.signed)
            with holding(account.keys["primaryReadonly"]):
                await items.read_item("b", "q")
                with pytest.raises(exceptions.CosmosHttpResponseError) as error:
                    await items.create_item({"id": "d", "pk": "q"})
            assert error.value.status_code == 401
            with holding(account.keys["secondary"]):
                await items.create_item({"id": "d", "pk": "q"})
    assert {
        "GET ",
        "GET colls",
        "GET pkranges",
        "POST docs",
        "GET docs",
        "PUT docs",
        "PATCH docs",
        "DELETE docs",
    } <= made


@pytest.mark.standin
async def test_without_a_key_nothing_leaves(
    account: Any, options: dict[str, Any], calls: Callable[[], list[str]]
) -> None:
    calls()
    client = CosmosClient(account.endpoint, UNUSABLE, transport=SigningTransport(options["transport"]))
    with pytest.raises(LookupError):
        await client.__aenter__()
    assert calls() == []
    await client.close()
