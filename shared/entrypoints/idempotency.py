"""Idempotency-Key: the same request again gets the first answer again, for 24 hours.

The record lies in the tenant's own account, written before the work starts, with the id that the work will use: a
retry after a crash carries on with the same id, so that it makes nothing twice. The container's time to live ends it.
"""

import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal

import msgspec

from shared.access.documents import Document, DocumentChangedError, DocumentExistsError, Documents
from shared.core.clock import rfc3339
from shared.core.errors import BulkheadError, Kind

CONTAINER = "idempotency"
_ABANDONED = 240  # seconds: Functions ends an HTTP request after 230, so the first one is no longer running
_UNKNOWN_OUTCOME = (Kind.UNAVAILABLE, Kind.THROTTLED, Kind.BROKEN)  # a write may have been done all the same


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it is kept and given: `body` is JSON."""

    status: int
    body: str
    headers: dict[str, str] = {}


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    fingerprint: str
    state: Literal["running", "interrupted", "done"]
    object_id: str
    started_at: str
    answer: Answer | None = None


async def once(
    documents: Documents,
    scope: str,
    key: str,
    payload: bytes,
    object_id: str,
    now: datetime,
    work: Callable[[str], Awaitable[Answer]],
) -> Answer:
    """Do `work` with an object id, or give the answer that it gave before.

    `scope` is the route; the tenant is the account's. Raises BulkheadError: unprocessable for another payload under
    the same key, conflict while the first request runs; and what `work` raises. After a refusal the key is free again;
    when it is not known whether the work was done, the same request can be sent again at once, with the same id.
    """
    record = _Record(
        id=hashlib.sha256(f"{scope}\n{key}".encode()).hexdigest(),
        fingerprint=hashlib.sha256(payload).hexdigest(),
        state="running",
        object_id=object_id,
        started_at=rfc3339(now),
    )
    try:
        mine = await documents.create(CONTAINER, msgspec.to_builtins(record))
    except DocumentExistsError:
        found = await documents.read(CONTAINER, record.id, record.id)
        if found is None:  # ended this very moment
            raise _running() from None
        first = msgspec.convert(found.body, _Record)
        if first.fingerprint != record.fingerprint:
            raise BulkheadError(
                Kind.UNPROCESSABLE, "idempotency_key_reused", "This Idempotency-Key was used with another request."
            ) from None
        if first.answer is not None:
            return first.answer
        if first.state == "running" and (now - datetime.fromisoformat(first.started_at)).total_seconds() < _ABANDONED:
            raise _running() from None
        record = msgspec.structs.replace(record, object_id=first.object_id)
        mine = await _replace(documents, record, found)
    try:
        answer = await work(record.object_id)
    except BulkheadError as error:
        with contextlib.suppress(BulkheadError):  # the first error is the answer; an abandoned record is taken over
            if error.kind in _UNKNOWN_OUTCOME:
                await _replace(documents, msgspec.structs.replace(record, state="interrupted"), mine)
            else:
                await documents.delete(CONTAINER, record.id, record.id)
        raise
    await _replace(documents, msgspec.structs.replace(record, state="done", answer=answer), mine)
    return answer


async def _replace(documents: Documents, record: _Record, current: Document) -> Document:
    try:
        return await documents.replace(CONTAINER, msgspec.to_builtins(record), current.etag)
    except DocumentChangedError as error:
        raise _running() from error


def _running() -> BulkheadError:
    return BulkheadError(
        Kind.CONFLICT, "request_in_progress", "A request with this Idempotency-Key is running.", retry_after=1
    )
