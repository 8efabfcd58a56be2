"""Writing the access log of one tenant: durable before any key of it is used for anything else.

Invocations that open the account at the same time are recorded together in one batch, in the order in which they came.
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from itertools import takewhile

from shared.access import log
from shared.access.documents import DocumentExistsError, Documents
from shared.access.ports import Anchors, Watcher
from shared.core.audit import START, AccessRecord, Disclosure, Head, chain
from shared.core.clock import Clock
from shared.core.errors import BulkheadError, Kind, bare
from shared.core.ids import TenantId, new_id

_MOST = 99  # records in a batch: Cosmos DB takes 100 documents, one is the head
_ANCHORED_EVERY = 60.0  # seconds


@dataclass(slots=True)
class _Waiting:
    disclosed: Disclosure
    documents: Documents
    context: Context = field(default_factory=copy_context)
    written: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Recorder:
    """One writer of one tenant's log. Holds no key: each disclosure brings the documents that are open for it."""

    def __init__(self, tenant_id: TenantId, clock: Clock, anchors: Anchors, watcher: Watcher, within: float) -> None:
        """`within` is how many seconds a batch may take."""
        self._tenant_id = tenant_id
        self._clock = clock
        self._anchors = anchors
        self._watcher = watcher
        self._within = within
        self._head = self._new_chain()
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Handle | asyncio.Task[None] | None = None
        self._to_anchor: dict[str, Head] = {}  # by writer
        self._anchored = float("-inf")
        self._anchoring: asyncio.TimerHandle | asyncio.Task[None] | None = None

    async def write(self, disclosed: Disclosure, documents: Documents) -> None:
        """Return once the record is durable.

        Raises KeyRefusedError when the account does not take the key, LeaseEndedError when the lease that signed has
        ended meanwhile, BulkheadError or TimeoutError when the account does not answer: then nothing may be disclosed.
        """
        waiting = _Waiting(disclosed, documents)
        self._waiting.append(waiting)
        if self._writing is None:  # when all who are ready have come
            self._writing = asyncio.get_running_loop().call_soon(self._write_next, context=Context())
        await waiting.written

    def _write_next(self, before: "asyncio.Task[None] | None" = None) -> None:
        """Write the next batch, in the context of whoever signs it. The process ends when the one before was ended."""
        self._waiting = [one for one in self._waiting if not one.written.done()]
        self._writing = None
        if self._waiting and (before is None or not before.cancelled()):
            month = log.month_of(self._waiting[0].disclosed)  # one partition
            batch = list(takewhile(lambda one: log.month_of(one.disclosed) == month, self._waiting[:_MOST]))
            del self._waiting[: len(batch)]
            self._writing = asyncio.create_task(self._write(batch), context=batch[-1].context)
            self._writing.add_done_callback(self._write_next)

    async def _write(self, batch: list[_Waiting]) -> None:
        try:
            # The last to come has the key that was listed last.
            await self._commit(batch[-1].documents, [one.disclosed for one in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is each waiting invocation's failure
            for one in batch:
                if not one.written.done():
                    one.written.set_exception(bare(error))
        else:
            for one in batch:
                if not one.written.done():
                    one.written.set_result(None)

    async def _commit(self, documents: Documents, disclosed: Sequence[Disclosure]) -> None:
        records, head = chain(self._head, disclosed)
        try:
            async with asyncio.timeout(self._within):
                await self._store(documents, records, head)
        except Exception:
            # It may have been written all the same, if only the answer was lost. So this chain ends here, whole either
            # way.
            self._head = self._new_chain()
            raise
        self._head = self._to_anchor[head.writer] = head
        self._anchor_soon()

    async def _store(self, documents: Documents, records: Sequence[AccessRecord], head: Head) -> None:
        month = log.month_of(records[0])
        try:
            await documents.write_together(
                log.CONTAINER,
                month,
                [log.record_document(one) for one in records],
                [log.head_document(head, month)],
            )
        except DocumentExistsError as error:
            # Sent once more, since the first answer was lost? Then all of it is there, for ids are never used twice.
            last = await documents.read(log.CONTAINER, month, records[-1].id)
            if last is None or last.body["hash"] != head.hash:
                raise BulkheadError(
                    Kind.UNAVAILABLE, "account_unavailable", "The access could not be recorded.", retry_after=5
                ) from error

    def _anchor_soon(self) -> None:
        if self._to_anchor and self._anchoring is None:
            due = max(0.0, self._anchored + _ANCHORED_EVERY - self._clock.monotonic())
            # In no invocation's context: that may be long over by then.
            self._anchoring = asyncio.get_running_loop().call_later(due, self._anchor_now, context=Context())

    def _anchor_now(self) -> None:
        self._anchoring = asyncio.create_task(self._anchor())

    async def _anchor(self) -> None:
        """Keep the newest heads with the publisher too, once a minute. What fails is tried again a minute later."""
        try:
            for head in list(self._to_anchor.values()):
                await self._anchors.keep(self._tenant_id, head)
                if self._to_anchor[head.writer] is head:
                    del self._to_anchor[head.writer]
        except BulkheadError as error:
            self._watcher("access_log_not_anchored", tenant_id=self._tenant_id, code=error.code)
        finally:
            self._anchored = self._clock.monotonic()
            self._anchoring = None
            self._anchor_soon()

    def _new_chain(self) -> Head:
        return Head(writer=new_id("wri", self._clock.now()), number=0, hash=START)
