"""Of any log, whatever its writers wrote: it verifies; and whatever is changed or taken out of it, is noticed."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.audit import START, AccessRecord, Disclosure, Head, chain
from tests.examining import verify

TEXTS = st.text(max_size=4)
KINDS = st.sampled_from(["primary", "secondary", "primary_readonly", "secondary_readonly"])
SOURCES = st.sampled_from(["retrieved", "shared", "retained_token", "retained_key"])
DISCLOSURES = st.builds(
    Disclosure, id=TEXTS, time=TEXTS, tenant_id=TEXTS, lease_id=TEXTS, actor=TEXTS, action=TEXTS, object_id=TEXTS,
    request_id=TEXTS, daemon_client_id=TEXTS, key_kind=KINDS, key_fingerprint=TEXTS, key_source=SOURCES,
)  # fmt: skip
BATCHES = st.lists(st.tuples(st.integers(0, 2), st.lists(DISCLOSURES, min_size=1, max_size=3)), min_size=1, max_size=5)
FIELDS = st.sampled_from(AccessRecord.__struct_fields__)


def written(batches: Any) -> Any:
    """The records and heads of some writers that wrote these batches."""
    heads = {number: Head(writer=f"wri_{number}", number=0, hash=START) for number, _ in batches}
    records = []
    for number, batch in batches:
        more, heads[number] = chain(heads[number], batch)
        records += more
    return records, list(heads.values())


@given(BATCHES, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_what_was_written_has_no_flaw(batches: Any, chance: Any) -> None:
    records, heads = written(batches)
    chance.shuffle(records)
    assert verify(records, heads, heads) == []


@given(BATCHES, st.data())
@settings(max_examples=50)
def test_a_record_taken_out_or_changed_is_noticed(batches: Any, data: Any) -> None:
    records, heads = written(batches)
    at = data.draw(st.integers(0, len(records) - 1))
    field = data.draw(FIELDS | st.none())
    if field is None:
        del records[at]
    else:
        old = getattr(records[at], field)
        value = data.draw((st.integers(0, 20) if field == "number" else TEXTS).filter(lambda value: value != old))
        records[at] = msgspec.structs.replace(records[at], **{field: value})
    assert verify(records, heads, [])
