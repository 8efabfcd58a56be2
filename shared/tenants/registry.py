"""The registry of tenants, in the publisher's own Cosmos DB account.

Entries are cached for `lifetime` seconds, so a lock is in force in every process within that time. An entry that
cannot be read is no tenant: reading raises, it never answers from an old copy.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from shared.access.documents import Document, DocumentChangedError, DocumentExistsError, Documents, Query
from shared.core.clock import Clock
from shared.core.errors import BulkheadError, Kind, not_found
from shared.core.ids import DirectoryId, TenantId, is_id
from shared.tenants.models import Tenant

CONTAINER = "tenants"
_PARTITION = "tenant"


class Stored(msgspec.Struct, frozen=True):
    """A registry entry and its ETag."""

    tenant: Tenant
    etag: str


class Registry:
    """Finds and keeps tenants."""

    def __init__(self, documents: Documents, clock: Clock, *, lifetime: float = 2, capacity: int = 10_000) -> None:
        self._documents = documents
        self._clock = clock
        self._lifetime = lifetime
        self._capacity = capacity
        self._by_id: dict[TenantId, tuple[float, Tenant]] = {}
        self._by_directory: dict[DirectoryId, tuple[float, tuple[Tenant, ...]]] = {}

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
        if cached is not None and self._clock.monotonic() < cached[0]:
            return cached[1]
        asked = self._clock.monotonic()
        query = Query(CONTAINER, {"directory_id": directory_id}, partition=_PARTITION, descending=False)
        found = list(page := await self._documents.query(query))
        while len(page) == query.limit:
            page = await self._documents.query(replace(query, after=page[-1].body["id"]))
            found += page
        tenants = tuple(self._keep(document, asked).tenant for document in found)
        self._bound(self._by_directory)
        self._by_directory[directory_id] = (asked + self._lifetime, tenants)
        return tenants

    async def page(self, application_id: str | None, after: str | None, limit: int) -> Sequence[Tenant]:
        """Tenants ordered by id; those of one managed application only, if it is named."""
        where = {} if application_id is None else {"application_id": application_id}
        asked = self._clock.monotonic()
        found = await self._documents.query(
            Query(CONTAINER, where, partition=_PARTITION, descending=False, after=after, limit=limit)
        )
        return [self._keep(document, asked).tenant for document in found]

    async def add(self, tenant: Tenant) -> Stored:
        """Store a new tenant. Raises BulkheadError (conflict) when its managed application has one already."""
        asked = self._clock.monotonic()
        try:
            document = await self._documents.create(CONTAINER, msgspec.to_builtins(tenant))
        except DocumentExistsError as error:
            raise already_registered() from error
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
