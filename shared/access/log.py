"""The access log of one tenant, in its own account: every disclosure of a key to its data. Partitions are months."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from shared.access.documents import Document, Documents, Json, Query
from shared.core.audit import AccessRecord, Disclosure, Head
from shared.core.errors import BulkheadError, Kind
from shared.core.examination import Examination, Flaw

CONTAINER = "access_log"
_PAGE = 100


def month_of(disclosed: Disclosure) -> str:
    """The partition of a record: its own month, so that the order of ids goes on from one partition to the next."""
    return disclosed.time[:7]


def record_document(record: AccessRecord) -> Json:
    """How a record is stored."""
    body: Json = msgspec.to_builtins(record)
    return body | {"kind": "record", "month": month_of(record)}


def head_document(head: Head, month: str) -> Json:
    """How the head of a writer's chain is stored: one document for each writer and month."""
    body: Json = msgspec.to_builtins(head)
    return body | {"id": f"head_{head.writer}", "kind": "head", "month": month}


class AccessLog:
    """Reads the log."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def newest_first(self, after: str | None, limit: int, since: datetime, now: datetime) -> list[AccessRecord]:
        """At most `limit` records older than the record `after`, looking back month by month until `since`."""
        records: list[AccessRecord] = []
        for month in _months(since, now):
            query = Query(CONTAINER, {"kind": "record"}, partition=month, after=after, limit=limit - len(records))
            records += [_load(AccessRecord, document) for document in await self._documents.query(query)]
            if len(records) == limit:
                break
        return records

    async def verify(self, anchors: Sequence[Head], since: datetime, now: datetime) -> tuple[int, list[Flaw]]:
        """The number of records since `since`, and what shows that some were changed or removed.

        `anchors` are to be read before this is called.
        """
        # The newest first, so that what is written meanwhile comes where nothing is looked for any more: looking the
        # other way would find a record, but not the one before it, if both were written as their places were passed.
        months = list(_months(since, now))
        found: list[Flaw] = []
        heads = [head async for _, head in self._readable(Head, "head", months, found)]
        examination, count = Examination(heads, anchors), 0
        async for document, record in self._readable(AccessRecord, "record", months, found):
            examination.see(record)
            count += 1
            if document.body["month"] != month_of(record):  # no hash tells it, and lists pass the record over
                found.append(Flaw(record.writer, record.number, "misplaced"))
        now_there = {head.writer async for _, head in self._readable(Head, "head", months, [])}
        # A head that is new tells of a chain begun meanwhile, unless that has an anchor: those were read first.
        begun = now_there - {head.writer for head in (*heads, *anchors)}
        return count, [flaw for flaw in found + examination.flaws() if flaw.writer not in begun]

    async def _readable[T](
        self, model: type[T], kind: str, months: list[str], flaws: list[Flaw]
    ) -> AsyncIterator[tuple[Document, T]]:
        """The documents of a kind. One that cannot be read is a flaw, and must not keep the others from being found."""
        async for document in self._all(kind, months):
            try:
                yield document, msgspec.convert(document.body, model)
            except msgspec.ValidationError:
                writer, number = document.body.get("writer"), document.body.get("number")
                flaws.append(
                    Flaw(
                        writer if isinstance(writer, str) else document.body["id"],
                        number if isinstance(number, int) else 0,
                        "unreadable",
                    )
                )

    async def _all(self, kind: str, months: list[str]) -> AsyncIterator[Document]:
        for month in months:
            after = None
            while True:
                page = await self._documents.query(
                    Query(CONTAINER, {"kind": kind}, partition=month, after=after, limit=_PAGE)
                )
                for document in page:
                    yield document
                if len(page) < _PAGE:
                    break
                after = page[-1].body["id"]


def _months(since: datetime, now: datetime) -> Iterator[str]:
    """The months from `now` back to `since`."""
    month = now
    while (month.year, month.month) >= (since.year, since.month):
        yield month.strftime("%Y-%m")
        month = month.replace(day=1) - timedelta(days=1)


def _load[T](model: type[T], document: Document) -> T:
    try:
        return msgspec.convert(document.body, model)
    except msgspec.ValidationError as error:
        raise BulkheadError(Kind.BROKEN, "document_unreadable", "An access record cannot be read.") from error
