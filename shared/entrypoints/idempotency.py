"""What is asked for twice is done once. The records lie in the tenant's own account, the publisher's in the registry.

Idempotency-Key: the same request again gets the first answer again, for 24 hours. The record is written before the work
starts, with the id that the work will use. It is held for some seconds, and that is renewed while the work runs: after
a crash the same request, sent again, takes over as soon as nobody holds it. The container's time to live ends it.

So the same work may be done again, even while the first still runs unseen. It has its effect once all the same:
candidates, authorizations, reports and tenants are made under the record's id, and what has that id already is given (a
report's jobs of the second time name screenings that it does not have, and end); a work that is done again knows that
it is, and takes a cancellation, or the same review by the same person, for its own; a lock is set again.

A queued order's `jti` claims its report's id for good.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared.access.documents import Document, DocumentChangedError, DocumentExistsError, Documents, Query
from shared.core.clock import Clock, rfc3339
from shared.core.errors import BulkheadError, Kind

CONTAINER = "idempotency"
_HELD = timedelta(seconds=10)  # what a retry waits for after a crash, at most
_RENEWED_EVERY = 3.0  # seconds: two renewals may fail
_UNKNOWN_OUTCOME = (Kind.UNAVAILABLE, Kind.THROTTLED, Kind.BROKEN)  # a write may have been done all the same


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it is kept and given: `body` is JSON."""

    status: int
    body: str
    headers: dict[str, str] = {}


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    fingerprint: str | None  # of the payload; None when the request was refused, and the key is free again
    object_id: str  # what the work is done with
    holder: str  # the request that holds it, by the id that it brought
    held_until: str
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
    own_id: str,
    clock: Clock,
    work: Callable[[str], Awaitable[Answer]],
) -> Answer:
    """Do `work` with `own_id`, or with that of the request which began it, or give the answer that it gave before.

    `scope` is the route, and whose keys these are where `documents` do not tell. `own_id` is unique to this request.
    Raises BulkheadError: unprocessable for another payload under the same key, conflict while another request holds
    it; and what `work` raises. After a refusal the key is free again; when it is not known whether the work was done,
    the same request can be sent again at once, with the same id.
    """
    record = _Record(
        id=_record_id(scope, key),
        fingerprint=hashlib.sha256(payload).hexdigest(),
        object_id=own_id,
        holder=own_id,
        held_until=rfc3339(clock.now() + _HELD),
    )
    held = await _hold(documents, record, clock)
    if isinstance(held, Answer):
        return held
    try:
        async with held.renewed() as object_id:
            answer = await work(object_id)
    except BulkheadError as error:
        with contextlib.suppress(BulkheadError):  # the first error is the answer; a record nobody holds is taken over
            if error.kind in _UNKNOWN_OUTCOME:
                await held.write(held_until=rfc3339(clock.now()))
            else:
                await held.write(held_until=rfc3339(clock.now()), fingerprint=None)
        raise
    await held.write(answer=answer)  # whoever took over meanwhile does the same, and has the same answer
    return answer


async def _hold(documents: Documents, record: _Record, clock: Clock) -> "_Held | Answer":
    """Make `record`, or take over the one that is there. Its answer, if it has one. Raises BulkheadError."""
    try:
        return _Held(documents, record, await documents.create(CONTAINER, msgspec.to_builtins(record)), clock)
    except DocumentExistsError:
        pass
    for _ in range(2):  # again when another request was faster, or the answer to our own taking over was lost
        found = await documents.read(CONTAINER, record.id, record.id)
        if found is None:  # ended this very moment
            break
        first = msgspec.convert(found.body, _Record)
        if first.holder == record.holder:  # our own: only the answer was lost
            return _Held(documents, first, found, clock)
        if first.fingerprint is not None:
            if first.fingerprint != record.fingerprint:
                raise _reused()
            if first.answer is not None:
                return first.answer
            left = (datetime.fromisoformat(first.held_until) - clock.now()).total_seconds()
            if left > 0:
                raise _running(left)
            record = msgspec.structs.replace(record, object_id=first.object_id)
        with contextlib.suppress(DocumentChangedError):
            taken = await documents.replace(CONTAINER, msgspec.to_builtins(record), found.etag)
            return _Held(documents, record, taken, clock)
    raise _running(1)


class _Held:
    """A record that this request holds."""

    def __init__(self, documents: Documents, record: _Record, stored: Document, clock: Clock) -> None:
        self._documents = documents
        self._record = record
        self._etag = stored.etag
        self._clock = clock

    @contextlib.asynccontextmanager
    async def renewed(self) -> AsyncIterator[str]:
        """Stay its holder for the length of a block, which is given the id to work with."""
        renewal = asyncio.create_task(self._renew())
        try:
            yield self._record.object_id
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    async def _renew(self) -> None:
        mine = True
        while mine:
            await asyncio.sleep(_RENEWED_EVERY)
            with contextlib.suppress(BulkheadError):  # the next may succeed; if none does, the work may be done again
                mine = await self.write(held_until=rfc3339(self._clock.now() + _HELD))

    async def write(self, **changes: Any) -> bool:
        """Change the record, if this request is still its holder: tells whether. Raises BulkheadError."""
        self._record = msgspec.structs.replace(self._record, **changes)
        for _ in range(2):
            try:
                stored = await self._documents.replace(CONTAINER, msgspec.to_builtins(self._record), self._etag)
            except DocumentChangedError:  # by another request, or by this one: an answer may have been lost
                found = await self._documents.read(CONTAINER, self._record.id, self._record.id)
                if found is None or msgspec.convert(found.body, _Record).holder != self._record.holder:
                    return False
                self._etag = found.etag
            else:
                self._etag = stored.etag
                return True
        return False


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


async def forget(documents: Documents, object_id: str) -> None:
    """Delete the record of the request that made `object_id`: its answer shows the object. Raises BulkheadError."""
    for document in await documents.query(Query(CONTAINER, {"object_id": object_id})):
        await documents.delete(CONTAINER, document.body["id"], document.body["id"])


def _record_id(scope: str, key: str) -> str:
    return hashlib.sha256(f"{scope}\n{key}".encode()).hexdigest()


def _reused() -> BulkheadError:
    return BulkheadError(Kind.UNPROCESSABLE, "idempotency_key_reused", "This key was used with another request.")


def _running(left: float) -> BulkheadError:
    """`left`: seconds until nobody holds the record, unless that is renewed."""
    return BulkheadError(
        Kind.CONFLICT, "request_in_progress", "A request with this Idempotency-Key is running.", retry_after=left
    )
