"""What can be known from a Social Security number's digits.

Sources: SSA, Program Operations Manual RM 10201.035 (invalid numbers); SSA, "The SSN Numbering Scheme" (order of
groups); SSA, High Group List of 24 June 2011 and "SSN Randomization"; SSA history, "Social Security Cards Issued by
Woolworth" (sample numbers).
"""

from datetime import date

import msgspec
import pytest

from shared.screening.engines.base import MISSING_REQUIRED_INFORMATION, EngineResult, Subject, mask_ssn
from shared.screening.engines.high_groups import GROUP_ORDER, HIGH_GROUPS, issued_before_randomization
from shared.screening.engines.ssn_trace import SsnTrace

TODAY = date(2026, 3, 1)


def run(ssn: str | None, born: date | None = None) -> EngineResult:
    subject = Subject(given_name="Ada", family_name="Example", ssn=ssn, date_of_birth=born)
    return SsnTrace().run(subject, TODAY)


def codes(ssn: str | None, born: date | None = None) -> list[str]:
    return [finding.code for finding in run(ssn, born).findings]


@pytest.mark.parametrize(
    ("ssn", "outcome", "first_code"),
    [
        ("000-12-3456", "consider", "ssn_area_never_issued"),
        ("001-12-3456", "clear", "ssn_issued_before_randomization"),
        ("665-12-3456", "clear", "ssn_issued_before_randomization"),
        ("666-12-3456", "consider", "ssn_area_never_issued"),
        ("667-12-3456", "clear", "ssn_issued_before_randomization"),
        ("899-12-3456", "clear", "ssn_issued_after_randomization"),
        ("900-12-3456", "consider", "ssn_area_never_issued"),
        ("999-12-3456", "consider", "ssn_area_never_issued"),
        ("501-00-3456", "consider", "ssn_group_never_issued"),
        ("501-12-0000", "consider", "ssn_serial_never_issued"),
        ("501-12-0001", "clear", "ssn_issued_before_randomization"),
        ("078-05-1120", "consider", "ssn_advertised"),
        ("078-05-1121", "clear", "ssn_issued_before_randomization"),
        ("219-09-9999", "consider", "ssn_advertised"),
        ("987-65-4319", "consider", "ssn_area_never_issued"),
        ("987-65-4320", "consider", "ssn_advertised"),
        ("987-65-4329", "consider", "ssn_advertised"),
        ("987-65-4330", "consider", "ssn_area_never_issued"),
        ("222-22-2222", "needs_review", "ssn_repeated_digit"),
        ("222-22-2223", "clear", "ssn_issued_before_randomization"),
        ("123-45-6789", "needs_review", "ssn_sequence"),
        ("123-45-6780", "clear", "ssn_issued_after_randomization"),
        ("234-56-7890", "needs_review", "ssn_sequence"),
        ("876-54-3210", "needs_review", "ssn_sequence"),
        ("50112345", "consider", "ssn_malformed"),
        ("5011234567", "consider", "ssn_malformed"),
        ("501-1-23456", "consider", "ssn_malformed"),
        ("501-12/3456", "consider", "ssn_malformed"),
        ("\u0665\u0660\u0661-12-3456", "consider", "ssn_malformed"),
        ("XXX-XX-3456", "consider", "ssn_malformed"),
    ],
)
def test_structure(ssn: str, outcome: str, first_code: str) -> None:
    result = run(ssn)
    assert (result.outcome, result.findings[0].code) == (outcome, first_code)


@pytest.mark.parametrize("ssn", ["501-12-3456", "501 12 3456", "501123456", " 501-12-3456 "])
def test_accepted_forms(ssn: str) -> None:
    assert run(ssn).outcome == "clear"


@pytest.mark.parametrize("ssn", [None, "", "  "])
def test_without_a_number_required_information_is_missing(ssn: str | None) -> None:
    result = run(ssn)
    assert [finding.code for finding in result.findings] == [MISSING_REQUIRED_INFORMATION]
    assert result.lacks_required_information
    assert result.outcome != "clear"


def test_a_result_with_a_number_lacks_nothing() -> None:
    assert not run("501-12-3456").lacks_required_information


def test_an_impossible_number_allows_no_inference_about_its_issue() -> None:
    assert codes("000-00-0000", date(2020, 1, 1)) == [
        "ssn_area_never_issued",
        "ssn_group_never_issued",
        "ssn_serial_never_issued",
        "ssn_repeated_digit",
    ]


def test_group_order_is_the_published_one() -> None:
    # "ODD numbers from 01 through 09 and then EVEN numbers from 10 through 98 ... EVEN Groups 02 through 08 ...
    # ODD Groups 11 through 99"
    assert GROUP_ORDER[:6] == (1, 3, 5, 7, 9, 10)
    assert GROUP_ORDER[49:55] == (98, 2, 4, 6, 8, 11)
    assert GROUP_ORDER[-1] == 99
    assert sorted(GROUP_ORDER) == list(range(1, 100))


def test_high_group_list_is_complete() -> None:
    # 755 areas from 001 to 772; 666 and 734 to 749 were never opened.
    assert set(range(1, 773)) - set(HIGH_GROUPS) == {666, *range(734, 750)}
    assert len(HIGH_GROUPS) == 755
    assert (HIGH_GROUPS[1], HIGH_GROUPS[3], HIGH_GROUPS[105], HIGH_GROUPS[764], HIGH_GROUPS[772]) == (11, 8, 2, 29, 2)


@pytest.mark.parametrize(
    ("area", "group", "before"),
    [
        (1, 8, True),  # the list says 11: everything up to 08 was exhausted
        (1, 11, None),
        (1, 13, False),
        (752, 7, True),  # the list says 09
        (752, 9, None),
        (752, 10, False),
        (105, 98, True),  # the list says 02, which follows 98
        (105, 2, None),
        (105, 4, False),
        (734, 1, False),  # areas opened by randomization
        (749, 1, False),
        (750, 1, True),
        (773, 1, False),
    ],
)
def test_issue_by_area_and_group(area: int, group: int, before: bool | None) -> None:  # noqa: FBT001 - a table
    assert issued_before_randomization(area, group) is before


@pytest.mark.parametrize(
    ("ssn", "born", "inconsistent"),
    [
        ("001-08-3456", date(2011, 6, 24), False),  # may have been issued on that very day
        ("001-08-3456", date(2011, 6, 25), True),
        ("001-11-3456", date(2011, 6, 25), False),  # the group being issued then: undetermined
        ("001-13-3456", date(2011, 6, 25), False),  # issued later
        ("001-13-3456", date(1940, 1, 1), False),  # numbers are given at any age
        ("773-01-3456", date(1940, 1, 1), False),
        ("700-16-3456", date(1963, 6, 30), False),  # railroad areas end with June 1963
        ("700-16-3456", date(1963, 7, 1), True),
        ("728-12-3456", date(1963, 7, 1), True),
        ("729-12-3456", date(1963, 7, 1), False),
        ("699-12-3456", date(1963, 7, 1), False),
        ("700-20-3456", date(1990, 1, 1), False),  # not reached by the railroad, so random
    ],
)
def test_date_of_birth_against_the_last_possible_issue(ssn: str, born: date, inconsistent: bool) -> None:  # noqa: FBT001
    result = run(ssn, born)
    assert ("ssn_issued_before_birth" in {finding.code for finding in result.findings}) is inconsistent
    assert result.outcome == ("needs_review" if inconsistent else "clear")


def test_a_birth_in_the_future_is_doubtful() -> None:
    assert run("773-01-3456", TODAY).outcome == "clear"
    assert "date_of_birth_in_future" in codes("773-01-3456", date(2026, 3, 2))


@pytest.mark.parametrize(
    ("ssn", "shown"),
    [
        ("501-12-3456", "XXX-XX-3456"),
        ("501123456", "XXX-XX-3456"),
        ("501 12 3456", "XXX-XX-3456"),
        ("50112345", "XXX-XX-XXXX"),
        ("5011234567", "XXX-XX-XXXX"),
        ("", "XXX-XX-XXXX"),
    ],
)
def test_mask(ssn: str, shown: str) -> None:
    assert mask_ssn(ssn) == shown


def test_a_subject_shows_no_personal_data() -> None:
    subject = Subject(given_name="Ada", family_name="Example", ssn="501-12-3456", date_of_birth=date(1990, 1, 2))
    for shown in (repr(subject), str(subject), f"{subject}", repr(subject.__rich_repr__()), repr([subject])):
        assert "XXX-XX-3456" in shown
        assert "501" not in shown
        assert "Ada" not in shown
        assert "1990" not in shown


def test_results_survive_json() -> None:
    result = run("078-05-1120")
    assert msgspec.json.decode(msgspec.json.encode(result), type=EngineResult) == result
