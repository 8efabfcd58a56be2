"""Reading the access log: newest first, over months, page by page; and looking for what was done to it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.access.documents import Query
from shared.access.log import CONTAINER, AccessLog, head_document, record_document
from shared.core.audit import START, Head, chain, disclosure
from shared.core.errors import BulkheadError, Kind
from shared.core.examination import Flaw
from shared.core.ids import LeaseId, TenantId, new_id
from shared.core.lease import Purpose
from tests.fakes import InMemoryDocuments, tenant_documents

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
SINCE = datetime(2026, 1, 15, tzinfo=UTC)
PURPOSE = Purpose("user:1", "candidates.read", "cand_1", "req_1", writes=False)


@pytest.fixture
def documents() -> InMemoryDocuments:
    return tenant_documents()


def fill(documents: InMemoryDocuments, *moments: datetime, writer: str = "wri_1", after: Head | None = None) -> Any:
    """Records of one writer at these moments, with their heads. The records and the last head."""
    head, written = after or Head(writer=writer, number=0, hash=START), []
    for moment in moments:
        disclosed = disclosure(
            new_id("acc", moment), moment, TenantId("ten_1"), LeaseId("lea_1"), PURPOSE, "daemon", "primary", "f",
            "retrieved",
        )  # fmt: skip
        (record,), head = chain(head, [disclosed])
        month = f"{moment:%Y-%m}"
        documents.put(CONTAINER, record_document(record))
        documents.put(CONTAINER, head_document(head, month))
        written.append(record)
    return written, head


def days(*numbers: int) -> list[datetime]:
    return [NOW - timedelta(days=number) for number in numbers]


async def test_newest_first_goes_back_month_by_month(documents: InMemoryDocuments) -> None:
    written, _ = fill(documents, *days(90, 70, 45, 31, 30, 1, 0))
    found = await AccessLog(documents).newest_first(None, 100, SINCE, NOW)
    assert found == [one for one in reversed(written) if one.time >= "2026-01"]
    assert [document for document in documents.calls if document[0] == "query"] == [("query", CONTAINER, "")] * 3


async def test_pages_follow_each_other_without_gap_or_overlap(documents: InMemoryDocuments) -> None:
    written, _ = fill(documents, *days(70, 45, 40, 30, 2, 1, 0))
    log, pages, after = AccessLog(documents), [], None
    while page := await log.newest_first(after, 3, SINCE, NOW):
        pages.append(page)
        after = page[-1].id
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [one for page in pages for one in page] == list(reversed(written))


async def test_a_full_page_reads_no_further_month(documents: InMemoryDocuments) -> None:
    fill(documents, *days(45, 1, 0))
    assert len(await AccessLog(documents).newest_first(None, 2, SINCE, NOW)) == 2
    assert len(documents.calls) == 1


async def test_heads_are_no_records(documents: InMemoryDocuments) -> None:
    fill(documents, *days(0))
    assert len(await AccessLog(documents).newest_first(None, 100, SINCE, NOW)) == 1


async def test_a_record_that_cannot_be_read_is_an_error_and_no_gap(documents: InMemoryDocuments) -> None:
    (record,), _ = fill(documents, *days(0))
    documents.damage(CONTAINER, record.id, {"number": "one"})
    with pytest.raises(BulkheadError) as caught:
        await AccessLog(documents).newest_first(None, 100, SINCE, NOW)
    assert (caught.value.kind, caught.value.code) == (Kind.BROKEN, "document_unreadable")


async def test_what_cannot_be_read_is_a_flaw_and_hides_no_other(documents: InMemoryDocuments) -> None:
    written, head = fill(documents, *days(3, 2, 1, 0))
    documents.damage(CONTAINER, written[1].id, {"key_kind": "skeleton"})
    documents.damage(CONTAINER, written[3].id, {"actor": "user:other"})
    documents.put(CONTAINER, {"id": "acc_junk", "kind": "record", "month": "2026-02", "writer": 7, "number": "one"})
    documents.put(CONTAINER, {"id": "head_junk", "kind": "head", "month": "2026-02"})
    count, flaws = await AccessLog(documents).verify([head], SINCE, NOW)
    assert (count, [(flaw.writer, flaw.number, flaw.what) for flaw in flaws]) == (
        3,
        [
            ("head_junk", 0, "unreadable"),
            ("wri_1", 2, "unreadable"),
            ("acc_junk", 0, "unreadable"),
            ("wri_1", 2, "missing"),
            ("wri_1", 4, "changed"),
        ],
    )


async def test_a_whole_log_verifies_over_pages_months_and_writers(documents: InMemoryDocuments) -> None:
    moments = [NOW - timedelta(hours=6 * number) for number in reversed(range(260))]
    _, head = fill(documents, *moments)
    _, other = fill(documents, *days(40, 1), writer="wri_2")
    assert await AccessLog(documents).verify([head, other], SINCE, NOW) == (262, [])


async def test_a_flaw_is_found_in_any_month(documents: InMemoryDocuments) -> None:
    written, head = fill(documents, *days(60, 45, 10, 1, 0))
    documents.damage(CONTAINER, written[1].id, {"actor": "user:other"})
    await documents.delete(CONTAINER, "2026-03", written[3].id)
    count, flaws = await AccessLog(documents).verify([head], SINCE, NOW)
    assert count == 4
    assert [(flaw.number, flaw.what) for flaw in flaws] == [(2, "changed"), (4, "missing")]


async def test_a_record_moved_to_another_month_is_found(documents: InMemoryDocuments) -> None:
    """It is whole and in its chain, but a list by pages passes it over."""
    written, head = fill(documents, *days(45, 2, 1, 0))
    moved = written[3]
    await documents.delete(CONTAINER, "2026-03", moved.id)
    documents.put(CONTAINER, record_document(moved) | {"month": "2026-02"})
    count, flaws = await AccessLog(documents).verify([head], SINCE, NOW)
    assert (count, flaws) == (4, [Flaw("wri_1", 4, "misplaced")])


async def test_the_last_month_gone_with_its_head_is_missed_at_the_anchor(documents: InMemoryDocuments) -> None:
    written, head = fill(documents, *days(45, 1))
    await documents.delete(CONTAINER, "2026-03", written[1].id)
    await documents.delete(CONTAINER, "2026-03", "head_wri_1")
    _, flaws = await AccessLog(documents).verify([head], SINCE, NOW)
    assert [(flaw.number, flaw.what) for flaw in flaws] == [(2, "missing_at_anchor")]


async def test_what_is_written_while_the_log_is_read_is_no_flaw(documents: InMemoryDocuments) -> None:
    """A chain gets longer, and another one begins, between the heads' reading and the records'."""
    _, head = fill(documents, *days(10, 1))

    class Busy(InMemoryDocuments):
        def __init__(self) -> None:
            vars(self).update(vars(documents))
            self.begun = False

        async def query(self, query: Query) -> Any:
            if query.where["kind"] == "record" and not self.begun:
                self.begun = True
                fill(documents, *days(0, 0), after=head)
                fill(documents, *days(0), writer="wri_2")
            return await super().query(query)

    count, flaws = await AccessLog(Busy()).verify([], SINCE, NOW)
    assert (count, flaws) == (5, [])


async def test_what_is_written_at_the_turn_of_a_month_while_the_log_is_read_is_no_flaw(
    documents: InMemoryDocuments,
) -> None:
    """A record gets its place when the key is asked for, and is written a moment later."""
    _, head = fill(documents, *days(45))

    class Busy(InMemoryDocuments):
        def __init__(self) -> None:
            vars(self).update(vars(documents))

        async def query(self, query: Query) -> Any:
            if query.where["kind"] == "record" and query.partition == "2026-03" and len(self.all(CONTAINER)) == 2:
                fill(documents, datetime(2026, 2, 28, 23, 59, tzinfo=UTC), *days(30), after=head)
            return await super().query(query)

    count, flaws = await AccessLog(Busy()).verify([head], SINCE, NOW)
    assert (count, flaws) == (3, [])


async def test_a_head_put_back_while_the_log_is_read_hides_nothing_of_an_anchored_chain(
    documents: InMemoryDocuments,
) -> None:
    """The look itself is on record, so whoever changed the log knows when to take the head away and put it back."""
    written, head = fill(documents, *days(2, 1, 0))
    documents.damage(CONTAINER, written[1].id, {"actor": "user:other"})
    await documents.delete(CONTAINER, "2026-03", "head_wri_1")

    class Watched(InMemoryDocuments):
        def __init__(self) -> None:
            vars(self).update(vars(documents))

        async def query(self, query: Query) -> Any:
            if query.where["kind"] == "record":
                documents.put(CONTAINER, head_document(head, "2026-03"))
            return await super().query(query)

    _, flaws = await AccessLog(Watched()).verify([head], SINCE, NOW)
    assert [(flaw.number, flaw.what) for flaw in flaws] == [(2, "changed"), (3, "head_missing")]
