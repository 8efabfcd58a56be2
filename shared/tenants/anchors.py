"""Anchors: how far each writer of a tenant's access log has come, kept in the publisher's account.

Who holds the keys of a tenant's account could rewrite the log there as a whole; the anchors show it.
"""

from collections.abc import Sequence

import msgspec

from shared.access.documents import Documents, Query
from shared.core.audit import Head
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import TenantId

CONTAINER = "anchors"


class RegistryAnchors:
    """shared.access.ports.Anchors."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def keep(self, tenant_id: TenantId, head: Head) -> None:
        """Remember how far the writer has come. Raises BulkheadError."""
        body = msgspec.to_builtins(head) | {"id": head.writer, "tenant_id": tenant_id}
        await self._documents.write_together(CONTAINER, tenant_id, create=[], upsert=[body])

    async def of(self, tenant_id: TenantId) -> Sequence[Head]:
        """The newest anchor of each writer. Raises BulkheadError."""
        heads: list[Head] = []
        after = None
        while page := await self._documents.query(Query(CONTAINER, {}, partition=tenant_id, after=after)):
            try:
                heads += [msgspec.convert(document.body, Head) for document in page]
            except msgspec.ValidationError as error:
                raise BulkheadError(Kind.BROKEN, "document_unreadable", "An anchor cannot be read.") from error
            after = page[-1].body["id"]
        return heads
