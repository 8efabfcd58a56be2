from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.core.clock import rfc3339
from shared.core.ids import derived_id, is_id, new_id
from tests.fakes import START

MOMENTS = st.integers(0, 253_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(MOMENTS, MOMENTS)
def test_ids_sort_by_time(one: Any, other: Any) -> None:
    first, second = sorted((one, other))
    if first != second:
        assert new_id("rep", first, bytes_of(255)) < new_id("rep", second, bytes_of(0))


def bytes_of(value: Any) -> Any:
    return lambda length: bytes([value]) * length


def test_ids_of_one_millisecond_differ() -> None:
    assert len({new_id("rep", START) for _ in range(1_000)}) == 1_000


def test_the_entropy_is_eighty_bits_and_all_in_the_id() -> None:
    asked = []

    def entropy(length: Any) -> Any:
        asked.append(length)
        return bytes(length - 1) + b"\x01"

    assert new_id("rep", START, entropy) == new_id("rep", START, bytes_of(0))[:-1] + "1"
    assert asked == [10]


@given(MOMENTS, st.from_regex(r"[a-z]{2,6}", fullmatch=True))
def test_a_new_id_has_its_form(moment: Any, prefix: str) -> None:
    made = new_id(prefix, moment)
    assert is_id(prefix, made)
    assert made.removeprefix(f"{prefix}_")[0] in "01234567"  # 128 bits in 130


def test_the_time_zone_does_not_matter() -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert new_id("rep", elsewhere, bytes_of(7)) == new_id("rep", START, bytes_of(7))
    assert rfc3339(elsewhere) == rfc3339(START) == "2026-11-24T08:00:00.000Z"


def test_derived_ids_are_the_same_every_time() -> None:
    assert derived_id("rep", START, "ten_1", "jti") == derived_id("rep", START, "ten_1", "jti")
    # Stored in tenants' accounts: the form must never change.
    assert derived_id("rep", START, "ten_1", "jti") == "rep_01m8693800edebydz8gbtwjmzj"


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_derived_ids_differ_by_every_part(parts: Any, others: Any) -> None:
    one, other = derived_id("rep", START, *parts), derived_id("rep", START, *others)
    assert (one == other) == (parts == others)


def test_derived_ids_differ_by_prefix_and_moment() -> None:
    one = derived_id("rep", START, "x")
    assert derived_id("scr", START, "x").removeprefix("scr_") != one.removeprefix("rep_")
    assert derived_id("rep", START + timedelta(milliseconds=1), "x") != one


def test_what_is_no_id() -> None:
    good = new_id("rep", START)
    assert is_id("rep", good)
    for text in (
        "", "rep", "rep_", good[:-1], good + "0", good.upper(), " " + good, good + "\n", good[:-1] + "\n",
        good.replace("rep_", "rep-"), "rep__" + good[5:], good[:-1] + "u", good[:-1] + "/", good[:-2] + "..",
        good[:-1] + "٣",
    ):  # fmt: skip
        assert not is_id("rep", text), text
    assert not is_id("cand", good)
