"""The registry of tenants, in the publisher's own Cosmos DB account.

Entries are cached for `lifetime` seconds, so a lock is in force in every process within that time. An entry that
cannot be read is no tenant: reading raises, it never answers from an old copy. Before somebody is refused on a cached
entry, which another process may have changed meanwhile, the directory is read anew.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from shared.access.documents import Document, DocumentChangedError, DocumentExistsError, Documents, Query
from shared.core.clock import Clock
from shared.core.errors import BulkheadError, Kind, not_found
from shared.core.ids import DirectoryId, TenantId, is_id
from shared.tenants.models import Tenant

CONTAINER = "tenants"
_PARTITION = "tenant"
RENEWED_EVERY = 1.0  # seconds between two readings of a directory for those who are refused


class Stored(msgspec.Struct, frozen=True):
    """A registry entry and its ETag."""

    tenant: Tenant
    etag: str


@dataclass(slots=True)
class _Renewal:
    """The last reading of a directory for those who are refused; those who come meanwhile wait for it."""

    asked: float = float("-inf")
    under_way: asyncio.Lock = field(default_factory=asyncio.Lock)


class Registry:
    """Finds and keeps tenants."""

    def __init__(self, documents: Documents, clock: Clock, *, lifetime: float = 2, capacity: int = 1_000) -> None:
        self._documents = documents
        self._clock = clock
        self._lifetime = lifetime
        self._capacity = capacity
        self._by_id: dict[TenantId, tuple[float, Tenant]] = {}
        self._by_directory: dict[DirectoryId, tuple[float, tuple[Tenant, ...]]] = {}  # and when it was asked for
        self._renewals: dict[DirectoryId, _Renewal] = {}

    async def get(self, tenant_id: TenantId) -> Tenant:
        """The tenant, at most `lifetime` seconds old. Raises BulkheadError (not_found)."""
        cached = self._by_id.get(tenant_id)
        if cached is not None and self._clock.monotonic() < cached[0]:
            return cached[1]
        return (await self.read(tenant_id)).tenant

    async def read(self, tenant_id: TenantId) -> Stored:
        """The tenant as it is now, with its ETag. Raises BulkheadError (not_found)."""
        asked = self._clock.monotonic()
        document = await self._documents.read(CONTAINER, _PARTITION, tenant_id) if is_id("ten", tenant_id) else None
        if document is None:
            raise not_found("tenant")
        return self._keep(document, asked)

    async def confirm(self, tenant_id: TenantId) -> None:
        """shared.access.ports.Standing: read now, from no cache. Raises BulkheadError unless the tenant is active."""
        (await self.read(tenant_id)).tenant.require_active()

    async def of_directory(self, directory_id: DirectoryId) -> tuple[Tenant, ...]:
        """The tenants of a customer's directory, at most `lifetime` seconds old."""
        cached = self._by_directory.get(directory_id)
        if cached is not None and self._clock.monotonic() < cached[0] + self._lifetime:
            return cached[1]
        return (await self._read_directory(directory_id))[1]

    async def renewed(self, directory_id: DirectoryId, since: float) -> tuple[tuple[Tenant, ...], bool]:
        """For a refusal that rests on a cached entry: the directory's tenants, read at `since` (monotonic) or later.

        Reads at most once a second and directory, so that junk does not make us read for each piece; in between gives
        what was read last, with False: it may be older.
        """
        self._bound(self._renewals)
        renewal = self._renewals.setdefault(directory_id, _Renewal())
        async with renewal.under_way:
            known, now = self._by_directory.get(directory_id), self._clock.monotonic()
            if known is None or (known[0] < since and now >= renewal.asked + RENEWED_EVERY):
                renewal.asked = now
                known = await self._read_directory(directory_id)
        asked, tenants = known
        return tenants, asked >= since

    async def _read_directory(self, directory_id: DirectoryId) -> tuple[float, tuple[Tenant, ...]]:
        asked = self._clock.monotonic()
        query = Query(CONTAINER, {"directory_id": directory_id}, partition=_PARTITION, descending=False)
        found = list(page := await self._documents.query(query))
        while len(page) == query.limit:
            page = await self._documents.query(replace(query, after=page[-1].body["id"]))
            found += page
        tenants = tuple(self._keep(document, asked).tenant for document in found)
        self._bound(self._by_directory)
        self._by_directory[directory_id] = read = asked, tenants
        return read

    async def page(self, application_id: str | None, after: str | None, limit: int) -> Sequence[Tenant]:
        """Tenants ordered by id; those of one managed application only, if it is named."""
        where = {} if application_id is None else {"application_id": application_id}
        asked = self._clock.monotonic()
        found = await self._documents.query(
            Query(CONTAINER, where, partition=_PARTITION, descending=False, after=after, limit=limit)
        )
        return [self._keep(document, asked).tenant for document in found]

    async def add(self, tenant: Tenant) -> Stored:
        """Store a new tenant; the same id again gives what is stored.

        Raises BulkheadError (conflict) when its managed application has another one already.
        """
        asked = self._clock.monotonic()
        try:
            document = await self._documents.create(CONTAINER, msgspec.to_builtins(tenant))
        except DocumentExistsError as error:
            found = await self._documents.read(CONTAINER, _PARTITION, tenant.id)
            if found is None:
                raise already_registered() from error
            document = found
        self._by_directory.pop(tenant.directory_id, None)
        return self._keep(document, asked)

    async def replace(self, tenant: Tenant, etag: str) -> Stored:
        """Replace the state that `etag` names. Raises BulkheadError (precondition_failed)."""
        asked = self._clock.monotonic()
        try:
            document = await self._documents.replace(CONTAINER, msgspec.to_builtins(tenant), etag)
        except DocumentChangedError as error:
            raise BulkheadError(
                Kind.PRECONDITION_FAILED, "changed_meanwhile", "The tenant was changed since it was read."
            ) from error
        self._by_directory.pop(tenant.directory_id, None)
        return self._keep(document, asked)

    def _keep(self, document: Document, asked: float) -> Stored:
        """Cache an entry; its age counts from when it was asked for, since it may have changed on its way."""
        try:
            tenant = msgspec.convert(document.body, Tenant)
        except msgspec.ValidationError as error:  # unreadable means no
            raise BulkheadError(Kind.BROKEN, "registry_unreadable", "A registry entry cannot be read.") from error
        self._bound(self._by_id)
        self._by_id[tenant.id] = (asked + self._lifetime, tenant)
        return Stored(tenant, document.etag)

    def _bound(self, cache: dict) -> None:  # type: ignore[type-arg]
        if len(cache) >= self._capacity:
            cache.clear()


def already_registered() -> BulkheadError:
    """The managed application has a tenant."""
    return BulkheadError(Kind.CONFLICT, "already_registered", "This managed application is registered already.")
