from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.errors import BulkheadError, Kind
from shared.entrypoints import paging


@dataclass(frozen=True)
class Item:
    id: str


ITEMS = [Item(f"rep_{number:03}") for number in range(7)]


def page(cursor: Any = None, limit: Any = 3, scope: Any = ("ten_a", "reports", "")) -> Any:
    params = {"limit": str(limit)} | ({"cursor": cursor} if cursor is not None else {})
    position = paging.position(params, *scope)
    found = [item for item in ITEMS if position.after is None or item.id > position.after][: position.limit + 1]
    return position.page(found, [item.id for item in found])


def code(params: Any, *scope: Any) -> Any:
    with pytest.raises(BulkheadError) as caught:
        paging.position(params, *scope)
    assert caught.value.kind is Kind.INVALID
    return caught.value.code


def test_pages_follow_each_other_to_the_end() -> None:
    first = page()
    second = page(first.next)
    third = page(second.next)
    assert [first.data, second.data, third.data] == [
        ["rep_000", "rep_001", "rep_002"], ["rep_003", "rep_004", "rep_005"], ["rep_006"],
    ]  # fmt: skip
    assert [first.has_more, second.has_more, third.has_more] == [True, True, False]
    assert third.next is None


def test_a_full_last_page_has_no_next() -> None:
    assert (page(limit=7).has_more, page(limit=7).next) == (False, None)


def test_the_limit_has_a_default() -> None:
    assert paging.position({}).limit == 25
    assert paging.position({"limit": " 100 "}).limit == 100


@pytest.mark.parametrize(
    "limit",
    ["0", "-1", "101", "1.5", "x", "1e2", "٣", "³", "0x10", "1_0", "+5", "00000199999", "007", "9" * 5000, "1\n2"],
)
def test_other_limits_are_refused(limit: Any) -> None:
    assert code({"limit": limit}) == "invalid_limit"


SCOPES = [
    ("ten_b", "reports", ""), ("ten_a", "candidates", ""), ("ten_a", "reports", "pending"), ("ten_a", "reports"), (),
]  # fmt: skip


@pytest.mark.parametrize("scope", SCOPES)
def test_a_cursor_of_another_tenant_list_or_filter_is_refused(scope: Any) -> None:
    assert code({"cursor": page().next}, *scope) == "invalid_cursor"


@given(st.data())
def test_an_altered_cursor_is_refused(data: Any) -> None:
    cursor = page().next
    position = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.characters(codec="utf-8"))
    altered = (cursor[:position] + letter + cursor[position + 1 :]).strip()
    if altered != cursor:
        assert code({"cursor": altered}, "ten_a", "reports", "") == "invalid_cursor"


@given(st.text(min_size=1).filter(str.strip))
def test_any_text_is_refused(text: str) -> None:
    assert code({"cursor": text}, "ten_a", "reports", "") == "invalid_cursor"


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c + "=", lambda c: c + "A", lambda c: c * 2, str.swapcase]
)
def test_other_spellings_of_a_cursor_are_refused(change: Any) -> None:
    assert code({"cursor": change(page().next)}, "ten_a", "reports", "") == "invalid_cursor"


@pytest.mark.parametrize("last", ["watchlist", "standard"])
def test_base64_of_the_same_bytes_is_no_other_spelling(last: str) -> None:
    """The last letter of such lengths has bits that decoding passes over."""
    cursor = paging.Position("packages", None, 1).page([Item(last), Item("z")], [1, 2]).next
    assert cursor is not None
    assert code({"cursor": cursor[:-1] + chr(ord(cursor[-1]) + 1)}, "packages") == "invalid_cursor"


@given(st.text(min_size=1, max_size=50), st.lists(st.text(max_size=20), max_size=3))
def test_every_id_and_scope_makes_a_cursor_that_works(last: Any, scope: Any) -> None:
    made = paging.Position("\n".join(scope), None, 1).page([Item(last), Item("z")], [1, 2])
    assert paging.position({"cursor": made.next}, *scope).after == last
