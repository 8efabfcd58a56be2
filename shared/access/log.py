"""Reading the access log: every disclosure of a key to one tenant's data."""

from datetime import datetime, timedelta

import msgspec

from shared.access.documents import Documents, Query
from shared.core.audit import AccessRecord
from shared.core.errors import BulkheadError, Kind

CONTAINER = "access_log"


class AccessLog:
    """The access log of one tenant. Its partitions are months."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def newest_first(self, after: str | None, limit: int, since: datetime, now: datetime) -> list[AccessRecord]:
        """At most `limit` records older than the record `after`, looking back month by month until `since`."""
        records: list[AccessRecord] = []
        month = now
        while len(records) < limit and (month.year, month.month) >= (since.year, since.month):
            query = Query(CONTAINER, {}, partition=month.strftime("%Y-%m"), after=after, limit=limit - len(records))
            records += [_record(document.body) for document in await self._documents.query(query)]
            month = month.replace(day=1) - timedelta(days=1)
        return records


def _record(body: object) -> AccessRecord:
    try:
        return msgspec.convert(body, AccessRecord)
    except msgspec.ValidationError as error:
        raise BulkheadError(Kind.BROKEN, "document_unreadable", "An access record cannot be read.") from error
