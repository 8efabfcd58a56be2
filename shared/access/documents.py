"""Documents of one Cosmos DB account, as the application works on them (step 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

type Json = dict[str, Any]
type Scalar = str | int | bool


class DocumentExistsError(Exception):
    """A document with this id (or this value of a unique key) exists already."""


class DocumentChangedError(Exception):
    """The document was changed or deleted since it was read."""


class KeyRefusedError(Exception):
    """The account does not take the key. Only seen by those whose signer cannot renew it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document and the ETag of this state of it."""

    body: Json
    etag: str


@dataclass(frozen=True, slots=True)
class Query:
    """Documents whose fields equal `where`, ordered by id.

    `after` is the id of the last document already seen. `partition` None asks all partitions.
    """

    container: str
    where: Mapping[str, Scalar]
    partition: str | None = None
    descending: bool = True
    after: str | None = None
    limit: int = 100


class Documents(Protocol):
    """Every method raises BulkheadError (throttled, unavailable) when the account cannot answer."""

    async def read(self, container: str, partition: str, document_id: str) -> Document | None:
        """One document, or None when there is none."""
        ...

    async def create(self, container: str, body: Json) -> Document:
        """Store a new document, in the partition that its own field names. Raises DocumentExistsError."""
        ...

    async def replace(self, container: str, body: Json, etag: str) -> Document:
        """Replace the state that `etag` names. Raises DocumentChangedError."""
        ...

    async def write_together(
        self, container: str, partition: str, create: Sequence[Json], upsert: Sequence[Json]
    ) -> None:
        """All or nothing, in one partition: at most 100 documents. Raises DocumentExistsError."""
        ...

    async def delete(self, container: str, partition: str, document_id: str) -> None:
        """Delete a document; none there counts as done."""
        ...

    async def query(self, query: Query) -> Sequence[Document]:
        """At most `query.limit` documents."""
        ...
