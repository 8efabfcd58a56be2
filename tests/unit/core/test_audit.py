"""Chained access records: whatever is done to them afterwards is noticed, and nothing else is."""

import tracemalloc
from typing import Any

import msgspec
import pytest

from shared.core.audit import START, AccessRecord, Disclosure, Head, chain, disclosure
from shared.core.examination import Examination, Flaw
from shared.core.ids import LeaseId, TenantId
from shared.core.lease import Purpose
from tests.examining import verify
from tests.fakes import START as MOMENT

WRITER = "wri_1"
NEW = Head(writer=WRITER, number=0, hash=START)


def disclosed(number: int = 1, **changes: Any) -> Disclosure:
    made = disclosure(
        f"acc_{number}", MOMENT, TenantId("ten_1"), LeaseId(f"lea_{number}"),
        Purpose("user:1", "candidates.read", "cand_1", "req_1", writes=False), "daemon", "primary_readonly", "f1",
        "retrieved",
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def written() -> Any:
    """Five records, and the head after them."""
    return chain(NEW, [disclosed(number) for number in range(1, 6)])


def flaws(records: Any, *heads: Any, anchors: Any = ()) -> list[Any]:
    return [(flaw.number, flaw.what) for flaw in verify(records, heads, anchors)]


def test_a_disclosure_says_who_why_what_and_by_which_key() -> None:
    assert msgspec.to_builtins(disclosed()) == {
        "id": "acc_1", "time": "2026-11-24T08:00:00.000Z", "tenant_id": "ten_1", "lease_id": "lea_1",
        "actor": "user:1", "action": "candidates.read", "object_id": "cand_1", "request_id": "req_1",
        "daemon_client_id": "daemon", "key_kind": "primary_readonly", "key_fingerprint": "f1",
        "key_source": "retrieved",
    }  # fmt: skip


def test_a_chain_numbers_and_links_its_records(written: Any) -> None:
    records, head = written
    assert [record.number for record in records] == [1, 2, 3, 4, 5]
    assert [record.previous_hash for record in records] == [START, *(record.hash for record in records[:-1])]
    assert head == Head(writer=WRITER, number=5, hash=records[-1].hash)
    more, _ = chain(head, [disclosed(6)])
    assert flaws([*records, *more], Head(writer=WRITER, number=6, hash=more[0].hash)) == []


def test_nothing_written_moves_no_head() -> None:
    assert chain(NEW, []) == ([], NEW)


def test_a_whole_log_has_no_flaw_in_any_order(written: Any) -> None:
    records, head = written
    assert flaws(records, head, anchors=[head]) == []
    assert flaws(reversed(records), head, anchors=[head]) == []
    assert flaws([]) == []


@pytest.mark.parametrize("text", ["changed", "\ud800"])
@pytest.mark.parametrize("field", [name for name in AccessRecord.__struct_fields__ if name != "writer"])
def test_a_changed_field_is_noticed(written: Any, field: str, text: str) -> None:
    records, head = written
    value = 9 if field == "number" else text
    records[2] = msgspec.structs.replace(records[2], **{field: value})
    assert flaws(records, head)


def test_a_changed_record_that_was_hashed_again_breaks_the_link_after_it(written: Any) -> None:
    records, head = written
    second = msgspec.structs.replace(Head(writer=WRITER, number=1, hash=records[0].hash))
    records[1:2], _ = chain(second, [disclosed(2, actor="user:other")])
    assert flaws(records, head) == [(3, "changed")]


def test_a_chain_rewritten_to_its_end_differs_from_the_head_and_from_the_anchor(written: Any) -> None:
    records, head = written
    forged, forged_head = chain(NEW, [disclosed(number, actor="user:other") for number in range(1, 6)])
    assert flaws(forged, head) == [(5, "differs_from_head")]
    assert flaws(forged, forged_head) == [], "whoever can write everything is found by the anchor only"
    assert flaws(forged, forged_head, anchors=[head]) == [(5, "differs_from_anchor")]
    assert flaws(records, head, anchors=[Head(writer=WRITER, number=3, hash=records[2].hash)]) == []


@pytest.mark.parametrize("removed", [1, 2, 3, 4])
def test_a_removed_record_is_missed(written: Any, removed: int) -> None:
    records, head = written
    del records[removed - 1]
    assert flaws(records, head) == [(removed, "missing")]


def test_records_cut_off_at_the_end_are_missed(written: Any) -> None:
    records, head = written
    assert flaws(records[:3], head) == [(4, "missing")]
    shortened = Head(writer=WRITER, number=3, hash=records[2].hash)
    assert flaws(records[:3], shortened) == []
    assert flaws(records[:3], shortened, anchors=[head]) == [(5, "missing_at_anchor")]


def test_a_chain_that_is_gone_is_missed_at_its_head_and_its_anchor(written: Any) -> None:
    _, head = written
    assert flaws([], head) == [(1, "missing")]
    assert flaws([], anchors=[head]) == [(5, "missing_at_anchor")]


def test_a_chain_without_a_head_is_noticed(written: Any) -> None:
    records, _ = written
    assert flaws(records) == [(5, "head_missing")]


def test_a_record_put_in_between_is_noticed(written: Any) -> None:
    records, head = written
    foreign, _ = chain(Head(writer=WRITER, number=2, hash=records[1].hash), [disclosed(7)])
    assert (3, "doubled") in flaws([*records, *foreign], head)
    zeroth = msgspec.structs.replace(records[0], number=0)
    assert (0, "changed") in flaws([zeroth, *records], head)


def test_the_newest_of_several_heads_counts(written: Any) -> None:
    records, head = written
    older = Head(writer=WRITER, number=2, hash=records[1].hash)
    for heads in ((older, head), (head, older)):
        assert flaws(records, *heads) == []
        assert flaws(records[:4], *heads) == [(5, "missing")]


def test_a_chain_may_have_grown_since_its_head_and_anchor_were_read(written: Any) -> None:
    records, _ = written
    older = Head(writer=WRITER, number=2, hash=records[1].hash)
    assert flaws(records, older, anchors=[older]) == []


def test_each_writer_has_a_chain_of_its_own(written: Any) -> None:
    records, head = written
    others, other_head = chain(Head(writer="wri_2", number=0, hash=START), [disclosed(8), disclosed(9)])
    assert flaws([*records, *others], head, other_head) == []
    found = verify([*records, *others[:1]], [head, other_head], [])
    assert found == [Flaw("wri_2", 2, "missing")]


@pytest.mark.parametrize("newest_first", [False, True])
def test_records_in_their_order_are_not_remembered(*, newest_first: bool) -> None:
    """A log may have millions of them. It is read with the newest first."""
    records, head = chain(NEW, [disclosed(number) for number in range(1, 1001)])
    examination = Examination([head], [])
    tracemalloc.start()
    try:
        for record in reversed(records) if newest_first else records:
            examination.see(record)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert examination.flaws() == []
    assert kept < 20_000, "bytes; what the records link to would be ten times as many"


def test_a_record_of_one_writer_is_none_of_another(written: Any) -> None:
    records, head = written
    moved = [msgspec.structs.replace(record, writer="wri_2") for record in records]
    assert verify(moved, [Head(writer="wri_2", number=5, hash=head.hash)], []) == [
        Flaw("wri_2", number, "changed") for number in range(1, 6)
    ]


def test_fields_that_run_together_do_not_hash_alike() -> None:
    (one,), _ = chain(NEW, [disclosed(actor="user:1", action="2")])
    (other,), _ = chain(NEW, [disclosed(actor="user:12", action="")])
    assert one.hash != other.hash
