"""A process that drives the stand-in: `python -m tests.benchmarks.stand_in.client NUMBER`. Told what to do on stdin.

Plain HTTP requests, so that the client costs as little as it can; Service Bus through the SDK, which is all there is.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import aiohttp
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from tests.benchmarks.harness.process import serve

ARM = "https://management.azure.com"
LOGIN = "https://login.microsoftonline.com"
QUEUE = "tenant-events"
_BATCH = 100  # messages
_PAYLOAD = "x" * 400  # of an item, so that it has about half a kilobyte

type Request = Callable[[], Awaitable[None]]


class Client:
    """One tenant's daemon and what it can ask for."""

    def __init__(self, number: str) -> None:
        self._number = number
        self._sequence = itertools.count()
        self._session: aiohttp.ClientSession
        self.requests: dict[str, Request] = {
            "issue_token": self._issue_token,
            "get_secret": self._get_secret,
            "list_keys": self._list_keys,
            "read_item": self._read_item,
            "create_item": self._create_item,
            "query": self._query,
        }

    async def prepare(self, deployed: dict[str, Any], daemon: dict[str, Any]) -> None:
        """Go the steps of an invocation once, and store an item to read."""
        self._session = aiohttp.ClientSession(trust_env=True, connector=aiohttp.TCPConnector(limit=0))
        vault = await self._identity_token("https://vault.azure.net")
        self._secret_url = f"{daemon['vault']}secrets/{daemon['credential_name']}?api-version=2025-07-01"
        self._vault_headers = {"Authorization": f"Bearer {vault}"}
        secret = (await self._send("GET", self._secret_url, self._vault_headers))["value"]
        self._token_url = f"{LOGIN}/{os.environ['BULKHEAD_PUBLISHER_DIRECTORY_ID']}/oauth2/v2.0/token"
        self._form = {
            "grant_type": "client_credentials",
            "client_id": daemon["client_id"],
            "client_secret": secret,
            "scope": f"{ARM}/.default",
        }
        token = await self._send("POST", self._token_url, {}, data=self._form)
        group = f"/subscriptions/{deployed['subscription_id']}/resourceGroups/{deployed['resource_group']}"
        account = deployed["cosmos_account"]
        self._keys_url = (
            f"{ARM}{group}/providers/Microsoft.DocumentDB/databaseAccounts/{account}/listKeys?api-version=2024-11-15"
        )
        self._arm_headers = {"Authorization": f"Bearer {token['access_token']}"}
        keys = await self._send("POST", self._keys_url, self._arm_headers)
        self._key = base64.b64decode(keys["primaryMasterKey"])
        self._account_url = f"https://{account}.documents.azure.com/"
        for _ in range(10):
            await self._create_item()

    async def run(self, what: str, count: int, width: int) -> float:
        """`count` requests, `width` at once; gives the seconds."""
        request, left = self.requests[what], itertools.repeat(None, count)

        async def lane() -> None:
            for _ in left:
                await request()

        began = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(width)))
        return time.perf_counter() - began

    async def messages(self, count: int) -> float:
        """Send `count` messages, receive and complete as many; gives the seconds."""
        connection = os.environ["ServiceBusConnection"]  # noqa: SIM112 - its name on Azure Functions
        async with ServiceBusClient.from_connection_string(connection) as client:
            sender = client.get_queue_sender(QUEUE)
            receiver = client.get_queue_receiver(QUEUE, prefetch_count=2 * _BATCH)
            async with sender, receiver:
                began = time.perf_counter()

                async def send() -> None:
                    for _ in range(0, count, _BATCH):
                        await sender.send_messages([ServiceBusMessage(_PAYLOAD) for _ in range(min(count, _BATCH))])

                async def receive() -> None:
                    left = -(-count // _BATCH) * min(count, _BATCH)
                    while left > 0:
                        received = await receiver.receive_messages(min(left, _BATCH), max_wait_time=30)
                        await asyncio.gather(*(receiver.complete_message(message) for message in received))
                        left -= len(received)

                await asyncio.gather(send(), receive())
                return time.perf_counter() - began

    async def end(self) -> None:
        await self._session.close()

    async def _identity_token(self, resource: str) -> str:
        query = {
            "api-version": "2019-08-01",
            "resource": resource,
            "client_id": os.environ["BULKHEAD_IDENTITY_CLIENT_ID"],
        }
        headers = {"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]}
        async with self._session.get(os.environ["IDENTITY_ENDPOINT"], params=query, headers=headers) as answer:
            return str((await answer.json())["access_token"])

    async def _issue_token(self) -> None:
        await self._send("POST", self._token_url, {}, data=self._form)

    async def _get_secret(self) -> None:
        await self._send("GET", self._secret_url, self._vault_headers)

    async def _list_keys(self) -> None:
        await self._send("POST", self._keys_url, self._arm_headers)

    async def _read_item(self) -> None:
        await self._cosmos("GET", f"{self._number}-1", {})

    async def _create_item(self) -> None:
        body = {"id": f"{self._number}-{next(self._sequence)}", "candidate_id": self._number, "text": _PAYLOAD}
        await self._cosmos("POST", "", {}, json.dumps(body))

    async def _query(self) -> None:
        """The first ten of a partition, as a list's first page asks for them."""
        headers = {
            "x-ms-documentdb-isquery": "True",
            "Content-Type": "application/query+json",
            "x-ms-max-item-count": "10",
        }
        body = {"query": "SELECT * FROM c WHERE c.text = @p0 ORDER BY c.id DESC",
                "parameters": [{"name": "@p0", "value": _PAYLOAD}]}  # fmt: skip
        await self._cosmos("POST", "", headers, json.dumps(body))

    async def _cosmos(self, method: str, item: str, headers: dict[str, str], body: str | None = None) -> None:
        container = "dbs/bulkhead/colls/candidates"
        link = f"{container}/docs/{item}" if item else container
        date = formatdate(usegmt=True).lower()
        text = f"{method.lower()}\ndocs\n{link}\n{date}\n\n"
        signature = base64.b64encode(hmac.digest(self._key, text.encode(), hashlib.sha256)).decode()
        headers = headers | {
            "authorization": quote(f"type=master&ver=1.0&sig={signature}", safe=""),
            "x-ms-date": date,
            "x-ms-version": "2020-07-15",
            "x-ms-documentdb-partitionkey": json.dumps([self._number]),
        }
        await self._send(method, f"{self._account_url}{container}/docs/{item}".rstrip("/"), headers, data=body)

    async def _send(self, method: str, url: str, headers: dict[str, str], **body: Any) -> Any:
        async with self._session.request(method, url, headers=headers, **body) as answer:
            answer.raise_for_status()
            return await answer.json(content_type=None)


if __name__ == "__main__":
    client = Client(sys.argv[1])
    serve({"prepare": client.prepare, "run": client.run, "messages": client.messages}, client.end)
