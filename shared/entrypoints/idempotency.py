"""What is asked for twice is done once. The records lie in the tenant's own account.

Idempotency-Key: the same request again gets the first answer again, for 24 hours. The record is written before the work
starts, with the id that the work will use: a retry after a crash carries on with the same id, so that it makes nothing
twice. The container's time to live ends it. A queued order's `jti` claims its report's id for good.
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
_ABANDONED = 240  # seconds: host.json ends every function after 230, so the first one is no longer running
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


class _Claim(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    fingerprint: str
    object_id: str
    ttl: int = -1  # the container's does not count ("Time to live in Azure Cosmos DB")


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
        id=_record_id(scope, key),
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
            raise _reused() from None
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


async def claim(documents: Documents, scope: str, key: str, payload: bytes, object_id: str) -> str:
    """The id of what `key` stands for: `object_id`, or that with which the key was claimed first. It has no end.

    Raises BulkheadError (unprocessable) for another payload under the same key.
    """
    made = _Claim(id=_record_id(scope, key), fingerprint=hashlib.sha256(payload).hexdigest(), object_id=object_id)
    try:
        await documents.create(CONTAINER, msgspec.to_builtins(made))
    except DocumentExistsError:
        found = await documents.read(CONTAINER, made.id, made.id)
        first = made if found is None else msgspec.convert(found.body, _Claim)
        if first.fingerprint != made.fingerprint:
            raise _reused() from None
        return first.object_id
    return object_id


def _record_id(scope: str, key: str) -> str:
    return hashlib.sha256(f"{scope}\n{key}".encode()).hexdigest()


async def _replace(documents: Documents, record: _Record, current: Document) -> Document:
    try:
        return await documents.replace(CONTAINER, msgspec.to_builtins(record), current.etag)
    except DocumentChangedError as error:
        raise _running() from error


def _reused() -> BulkheadError:
    return BulkheadError(Kind.UNPROCESSABLE, "idempotency_key_reused", "This key was used with another request.")


def _running() -> BulkheadError:
    return BulkheadError(
        Kind.CONFLICT, "request_in_progress", "A request with this Idempotency-Key is running.", retry_after=1
    )
