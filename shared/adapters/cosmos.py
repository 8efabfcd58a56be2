"""Cosmos DB: documents of the tenants' accounts, signed by leases, and of the publisher's registry.

The client of an account is kept warm, because it holds connections and what it learnt of the account; the key is
not. Each request gets its signature from the invocation's lease at the moment of sending (docs/adr/0002).
"""

import asyncio
import math
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit
from weakref import WeakSet

import aiohttp
from azure.core import MatchConditions
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import AsyncHttpResponse, HttpRequest
from azure.cosmos import exceptions as cosmos
from azure.cosmos.aio import ContainerProxy, CosmosClient

from shared.access.documents import Document, DocumentChangedError, DocumentExistsError, Json, Query
from shared.access.models import Account
from shared.access.ports import Signer
from shared.adapters.http import SharedTransport, open_session
from shared.core.errors import BulkheadError, Kind
from shared.core.lease import LeaseEndedError, LeaseExpiredError

DATABASE = "bulkhead"
_NO_KEY = "bm8ga2V5"  # base64 of "no key": the SDK wants one to start; SigningTransport replaces what it signs
_SYSTEM = frozenset({"_rid", "_self", "_etag", "_attachments", "_ts"})
_FIELD = re.compile(r"[a-z_]+")
_MILLISECONDS = re.compile(r"[0-9]{1,9}")
# "Designing resilient applications with Azure Cosmos DB SDKs". With one region the SDK leaves these to us.
_PASSING = frozenset({408, 410, 449, 500, 502, 503, 504})
_LATER = _PASSING | {401, 403}  # likely to be well later, but not within a moment
# Seconds for one operation with all its attempts: an account that hangs must not hold for minutes whoever works on it.
_WITHIN = 20.0
# An entry of the registry that is under way for longer tells nothing any more: the tenant may have been locked
# meanwhile, which must be in force within 5 seconds (access/broker.py).
_REGISTRY_WITHIN = 2.0
_PAUSE = 0.2  # seconds before what may pass is tried again; doubled before the third attempt
_BUSY = 2.0  # seconds for which a throttled account is waited for; whoever is told to wait longer is told so
_BEHIND = 1002  # sub-status of a 404: the replica has not yet seen what this client wrote

_SIGNER: ContextVar[Signer | None] = ContextVar("signer", default=None)
"""Whoever signs the requests of the call that is running. Set only for the length of one call of the SDK."""


class SigningTransport(SharedTransport):
    """Replaces each request's Authorization by a signature of the lease under which the request is sent.

    A request outside a lease, of an ended lease, or to another host than the account's is not sent at all.
    """

    def __init__(self, session: aiohttp.ClientSession, proxy: str | None, endpoint: str) -> None:
        super().__init__(session, proxy)
        self._endpoint = endpoint
        self._host = urlsplit(endpoint).hostname  # a region's host could be another account's: `acme-westeurope`

    async def send(self, request: HttpRequest, **config: Any) -> AsyncHttpResponse:
        """Sign and send one request. Raises LeaseEndedError."""
        signer = _SIGNER.get()
        url = urlsplit(request.url)
        if signer is None or url.hostname != self._host:
            raise LeaseEndedError("no lease covers this request")
        resource_type, link = resource_of(url.path)
        date = formatdate(usegmt=True).lower()
        request.headers["x-ms-date"] = date
        request.headers["authorization"] = signer.sign(self._endpoint, request.method, resource_type, link, date)
        return await super().send(request, **config)


def resource_of(path: str) -> tuple[str, str]:
    """Type and link of the resource that `path` names, as the signature needs them.

    `/dbs/a/colls/b/docs/c` is the docs `dbs/a/colls/b/docs/c`; `/dbs/a/colls/b/docs` is the feed of docs of
    `dbs/a/colls/b` ("Access control on Azure Cosmos DB resources").
    """
    link = unquote(path).strip("/")
    parts = link.split("/") if link else []
    if len(parts) % 2:
        return parts[-1], "/".join(parts[:-1])
    return (parts[-2] if parts else ""), link


class TenantAccounts:
    """shared.access.ports.AccountOpener. Keeps the clients of the accounts used last, at most `limit` of them.

    Each client has connections of its own, so that no connection ever carries two tenants' requests and those of a
    client that is given up are closed.
    """

    def __init__(self, proxy: str | None, limit: int = 32) -> None:
        self._proxy = proxy
        self._limit = limit
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def open(self, account: Account, signer: Signer) -> "CosmosDocuments":
        """The account's documents, every request signed by `signer`."""
        client = self._clients.get(account.endpoint)
        if client is None:
            session = open_session()
            transport = SigningTransport(session, self._proxy, account.endpoint)
            client = self._clients[account.endpoint] = _Client(account.endpoint, _NO_KEY, transport, session)
        self._clients.move_to_end(account.endpoint)
        documents = CosmosDocuments(client, signer)
        self._give_up_oldest()
        return documents

    async def close(self) -> None:
        """Close every account's connections."""
        await asyncio.gather(*self._closing, *(client.close() for client in self._clients.values()))
        self._clients.clear()

    def _give_up_oldest(self) -> None:
        """Close the clients used longest ago whose documents nobody holds any more."""
        surplus = len(self._clients) - self._limit
        if surplus <= 0:
            return
        for endpoint in [name for name, client in self._clients.items() if not client.users][:surplus]:
            task = asyncio.create_task(self._clients.pop(endpoint).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def registry_documents(transport: SharedTransport, endpoint: str, identity: AsyncTokenCredential) -> "CosmosDocuments":
    """The documents of the publisher's own registry account: Entra tokens of the managed identity, no key."""
    return CosmosDocuments(_Client(endpoint, identity, transport, read_timeout=_REGISTRY_WITHIN), None)


class _Client:
    """One account's SDK client, set up at first use (it reads the account then)."""

    def __init__(
        self,
        endpoint: str,
        credential: str | AsyncTokenCredential,
        transport: SharedTransport,
        session: aiohttp.ClientSession | None = None,
        *,
        read_timeout: float = 6,  # the default of the SDK for .NET; here it would be 65
    ) -> None:
        """`session` is the client's own, if it has one. `read_timeout` is for one answer, in seconds."""
        self.users: WeakSet[CosmosDocuments] = WeakSet()
        self._session = session
        self._client = CosmosClient(
            endpoint,
            credential,
            transport=transport,
            enable_endpoint_discovery=False,  # the global endpoint follows the write region by DNS
            retry_total=2,
            retry_backoff_max=5,
            # Never by the SDK: it looks at this limit before it adds what it is told to wait, and so may wait for long.
            retry_throttle_backoff_max=-1,  # 0 would stand for its default
            connection_timeout=10,
            read_timeout=read_timeout,
        )
        self._containers: dict[str, ContainerProxy] = {}
        self._ready = False

    async def container(self, name: str) -> ContainerProxy:
        if not self._ready:
            await self._client.__aenter__()
            self._ready = True
        if name not in self._containers:
            self._containers[name] = self._client.get_database_client(DATABASE).get_container_client(name)
        return self._containers[name]

    async def close(self) -> None:
        if self._ready:
            await self._client.close()
        if self._session is not None:
            await self._session.close()


class CosmosDocuments:
    """shared.access.documents.Documents of one account."""

    def __init__(self, client: _Client, signer: Signer | None) -> None:
        self._client = client
        self._signer = signer
        client.users.add(self)

    async def read(self, container: str, partition: str, document_id: str) -> Document | None:
        """One document, or None."""
        try:
            return _document(await self._call(container, lambda c: c.read_item(document_id, partition), 404))
        except cosmos.CosmosResourceNotFoundError:
            return None

    async def create(self, container: str, body: Json) -> Document:
        """Store a new document. Raises DocumentExistsError."""
        try:
            return _document(await self._call(container, lambda c: c.create_item(body), 409))
        except cosmos.CosmosResourceExistsError as error:
            raise DocumentExistsError from error

    async def replace(self, container: str, body: Json, etag: str) -> Document:
        """Replace the state that `etag` names. Raises DocumentChangedError."""
        try:
            return _document(
                await self._call(
                    container,
                    lambda c: c.replace_item(
                        body["id"], body, etag=etag, match_condition=MatchConditions.IfNotModified
                    ),
                    404,
                    412,
                )
            )
        except (cosmos.CosmosAccessConditionFailedError, cosmos.CosmosResourceNotFoundError) as error:
            raise DocumentChangedError from error

    async def write_together(
        self, container: str, partition: str, create: Sequence[Json], upsert: Sequence[Json]
    ) -> None:
        """All or nothing, in one partition. Raises DocumentExistsError."""
        operations: list[tuple[str, tuple[Json]]] = [
            *(("create", (body,)) for body in create),
            *(("upsert", (body,)) for body in upsert),
        ]
        try:
            await self._call(container, lambda c: c.execute_item_batch(operations, partition))
        except cosmos.CosmosBatchOperationError as error:
            if error.status_code == 409:
                raise DocumentExistsError from error
            raise _unavailable(error) from error

    async def delete(self, container: str, partition: str, document_id: str) -> None:
        """Delete a document; none there counts as done."""
        try:
            await self._call(container, lambda c: c.delete_item(document_id, partition), 404)
        except cosmos.CosmosResourceNotFoundError:
            return

    async def query(self, query: Query) -> Sequence[Document]:
        """At most `query.limit` documents."""
        conditions: list[str] = []
        parameters: list[dict[str, object]] = []
        for number, (field, value) in enumerate(query.where.items()):
            if not _FIELD.fullmatch(field):
                raise ValueError(field)
            conditions.append(f"c.{field} = @p{number}")
            parameters.append({"name": f"@p{number}", "value": value})
        if query.after is not None:
            conditions.append(f"c.id {'<' if query.descending else '>'} @after")
            parameters.append({"name": "@after", "value": query.after})
        text = "SELECT * FROM c"
        if conditions:
            text += " WHERE " + " AND ".join(conditions)
        text += f" ORDER BY c.id {'DESC' if query.descending else 'ASC'}"
        scope: dict[str, Any] = {} if query.partition is None else {"partition_key": query.partition}

        async def first(container: ContainerProxy) -> list[Json]:
            found: list[Json] = []
            items = container.query_items(text, parameters=parameters, max_item_count=query.limit, **scope)
            async for item in items:
                found.append(item)
                if len(found) == query.limit:
                    break
            return found

        return [_document(item) for item in await self._call(query.container, first)]

    async def _call[T](self, container: str, operation: Callable[[ContainerProxy], Awaitable[T]], *answers: int) -> T:
        """Run one operation, within `_WITHIN`. Raises BulkheadError, or the SDK's error for `answers`."""
        try:
            async with asyncio.timeout(_WITHIN):
                return await self._try(container, operation, *answers)
        except TimeoutError as error:
            raise _no_answer() from error

    async def _try[T](self, container: str, operation: Callable[[ContainerProxy], Awaitable[T]], *answers: int) -> T:
        """Run one operation, up to three times.

        Again with a renewed key when the account refuses the key or the lease is too old: a key that was regenerated
        may be too old, or taken away, before the request is sent again. And again after a failure that may pass, and
        when a busy account will take it in a moment. The SDK's error goes to the caller only for statuses that are
        `answers` to it. A container may well be missing: the account is the customer's. What is sent again may have
        been carried out already, as with the SDK's own retries.
        """
        for left in (2, 1, 0):
            try:
                return await self._once(container, operation)
            except cosmos.CosmosHttpResponseError as error:
                # A 404 with a sub-status is not about the document: its container is gone, or a replica is behind.
                if error.status_code in answers and not (error.status_code == 404 and error.sub_status):
                    raise
                if left and (pause := _pause(error, 3 - left)) is not None:
                    await asyncio.sleep(pause)
                elif left and self._signer is not None and error.status_code == 401:
                    await self._signer.renew(refused=True)
                else:
                    raise _unavailable(error) from error
            except cosmos.CosmosBatchOperationError:
                raise  # an answer about one of the documents; write_together translates it
            except AzureError as error:
                raise _unavailable(error) from error
            except LeaseExpiredError as error:
                if not left or self._signer is None:
                    raise BulkheadError(
                        Kind.UNAVAILABLE, "account_unavailable", "The account could not be kept open.", retry_after=5
                    ) from error
                await self._signer.renew(refused=False)
        raise AssertionError("the last attempt returns or raises")

    async def _once[T](self, container: str, operation: Callable[[ContainerProxy], Awaitable[T]]) -> T:
        token = _SIGNER.set(self._signer)
        try:
            return await operation(await self._client.container(container))
        finally:
            _SIGNER.reset(token)


def _behind(error: AzureError) -> bool:
    return getattr(error, "status_code", None) == 404 and getattr(error, "sub_status", None) == _BEHIND


def _pause(error: cosmos.CosmosHttpResponseError, attempt: int) -> float | None:
    """Seconds before the next attempt after a failure that may pass; None after any other."""
    if error.status_code in _PASSING or _behind(error):
        return _PAUSE * attempt
    if error.status_code == 429 and (wait := _busy_for(error)) <= _BUSY:
        return wait
    return None


def _busy_for(error: AzureError) -> float:
    """Seconds after which a throttled account wants to be asked again ("Request rate too large"); 1 if it says none."""
    told = (getattr(error, "headers", None) or {}).get("x-ms-retry-after-ms", "")
    return int(told) / 1000 if _MILLISECONDS.fullmatch(told) else 1.0


def _unavailable(error: AzureError) -> BulkheadError:
    status = getattr(error, "status_code", None)
    if status == 429:
        wait = max(1, math.ceil(_busy_for(error)))
        return BulkheadError(Kind.THROTTLED, "account_throttled", "The account is busy.", retry_after=wait)
    if status == 413:
        return BulkheadError(Kind.TOO_LARGE, "document_too_large", "The document is too large.")
    if isinstance(status, int) and 400 <= status < 500 and status not in _LATER and not _behind(error):
        return BulkheadError(Kind.BROKEN, "account_refused", f"The account refused the request with status {status}.")
    return _no_answer()


def _no_answer() -> BulkheadError:
    return BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "The account does not answer.", retry_after=5)


def _document(item: Any) -> Document:
    return Document({name: value for name, value in item.items() if name not in _SYSTEM}, item["_etag"])
