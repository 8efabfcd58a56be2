from typing import Any

import pytest
from msgspec.structs import replace

from shared.screening import rules
from shared.screening.models import Report, Review, Screening
from tests.stage import CLEAR, CONSIDER, HIT, LACKING

T0, T1, T2 = "2026-11-24T08:00:00.000Z", "2026-11-24T09:00:00.000Z", "2026-11-24T10:00:00.000Z"
CONFIRMED = Review(decision="confirmed", reviewed_by="user:r", reviewed_at=T2)
DISMISSED = Review(decision="dismissed", reviewed_by="user:r", reviewed_at=T2)


def screening(number: Any = 1, **changes: Any) -> Any:
    return replace(Screening(id=f"scr_{number}", type="watchlist", created_at=T0), **changes)


def report(*screenings: Any) -> Any:
    return Report(
        id="rep_1", candidate_id="cand_1", authorization_id="auth_1", package="essential",
        screenings=screenings, source="api", created_at=T0, updated_at=T0,
    )  # fmt: skip


PENDING = screening()
SUSPENDED = screening(status="suspended")
REVIEW = screening(review_required=True)
CLEARED = screening(status="complete", result="clear", completed_at=T0)
CONSIDERED = screening(status="complete", result="consider", completed_at=T0)
CANCELED = screening(status="canceled", cancellation_reason="requested", completed_at=T0)


def only(changed: Any) -> Any:
    (one,) = changed.screenings
    return one


# --- one screening: state and event to state ---


@pytest.mark.parametrize(
    ("outcome", "status", "result", "review_required", "reason"),
    [
        (CLEAR, "complete", "clear", False, None),
        (CONSIDER, "complete", "consider", False, None),
        (HIT, "pending", None, True, None),
        (LACKING, "canceled", None, False, "missing_required_information"),
    ],
)
@pytest.mark.parametrize("before", [PENDING, SUSPENDED])
def test_an_engines_answer(
    before: Any, outcome: Any, status: int, result: Any, review_required: Any, reason: Any
) -> None:
    after = only(rules.conclude(report(before), "scr_1", outcome, "7", T1))
    assert after.status == (before.status if review_required else status)
    assert (after.result, after.review_required, after.cancellation_reason) == (result, review_required, reason)
    assert (after.findings, after.engine_version) == (outcome.findings, "7")
    assert after.completed_at == (None if review_required else T1)


@pytest.mark.parametrize("outcome", [CLEAR, CONSIDER, HIT, LACKING])
@pytest.mark.parametrize("before", [REVIEW, CLEARED, CONSIDERED, CANCELED])
def test_an_engines_answer_to_what_no_longer_waits_changes_nothing(before: Any, outcome: Any) -> None:
    assert rules.conclude(report(before), "scr_1", outcome, "7", T1) == report(before)


@pytest.mark.parametrize(("verdict", "result"), [(CONFIRMED, "consider"), (DISMISSED, "clear")])
def test_a_reviewers_decision(verdict: Any, result: Any) -> None:
    after = only(rules.review(report(REVIEW), "scr_1", verdict, T2))
    assert (after.status, after.result, after.review_required) == ("complete", result, False)
    assert (after.review, after.completed_at) == (verdict, T2)


@pytest.mark.parametrize("before", [PENDING, SUSPENDED, CLEARED, CONSIDERED, CANCELED])
def test_a_decision_on_what_waits_for_none_changes_nothing(before: Any) -> None:
    assert rules.review(report(before), "scr_1", CONFIRMED, T2) == report(before)


@pytest.mark.parametrize("before", [PENDING, SUSPENDED, REVIEW])
def test_what_is_open_can_be_canceled(before: Any) -> None:
    after = only(rules.cancel(report(before), "requested", T1))
    assert (after.status, after.result, after.review_required) == ("canceled", None, False)
    assert (after.cancellation_reason, after.completed_at) == ("requested", T1)


@pytest.mark.parametrize("before", [CLEARED, CONSIDERED, CANCELED])
def test_what_is_complete_stays_complete(before: Any) -> None:
    assert rules.cancel(report(before), "candidate_withdrew_consent", T1) == report(before)


def test_an_unknown_screening_changes_nothing() -> None:
    before = report(REVIEW)
    assert rules.find(before, "scr_9") is None
    assert rules.conclude(before, "scr_9", CLEAR, "7", T1) == before
    assert rules.review(before, "scr_9", CONFIRMED, T1) == before
    assert rules.cancel(before, "requested", T1, "scr_9") == before


# --- the report: derived from its screenings ---


def after_last(*others: Any, last: Any = PENDING, outcome: Any = CLEAR) -> Any:
    """A report whose first screening is concluded last, beside `others`."""
    numbered = [replace(one, id=f"scr_{number}") for number, one in enumerate(others, 2)]
    return rules.conclude(report(last, *numbered), "scr_1", outcome, "7", T1)


@pytest.mark.parametrize(
    ("others", "outcome", "status", "result", "includes_canceled"),
    [
        ([], CLEAR, "complete", "clear", False),
        ([], CONSIDER, "complete", "consider", False),
        ([], HIT, "paused", None, False),
        ([], LACKING, "canceled", None, False),
        ([CLEARED], CLEAR, "complete", "clear", False),
        ([CONSIDERED], CLEAR, "complete", "consider", False),
        ([CLEARED], CONSIDER, "complete", "consider", False),
        ([CANCELED], CLEAR, "complete", "clear", True),
        ([CANCELED], CONSIDER, "complete", "consider", True),
        ([CLEARED], LACKING, "complete", "clear", True),
        ([CANCELED], LACKING, "canceled", None, False),
        ([PENDING], CLEAR, "pending", None, False),
        ([CANCELED, PENDING], CLEAR, "pending", None, False),
        ([REVIEW], CLEAR, "paused", None, False),
        ([REVIEW, CANCELED], CONSIDER, "paused", None, False),
        ([REVIEW, PENDING], CLEAR, "pending", None, False),
        ([PENDING], HIT, "pending", None, False),
        ([SUSPENDED], CLEAR, "suspended", None, False),
        ([SUSPENDED, PENDING], CLEAR, "suspended", None, False),
        ([SUSPENDED, REVIEW], CONSIDER, "suspended", None, False),
    ],
)
def test_the_reports_state_follows_from_its_screenings(
    others: Any, outcome: Any, status: int, result: Any, includes_canceled: Any
) -> None:
    after = after_last(*others, outcome=outcome)
    assert (after.status, after.result, after.includes_canceled) == (status, result, includes_canceled)
    assert after.completed_at == (T1 if status in ("complete", "canceled") else None)
    assert after.updated_at == T1


def test_canceling_all_of_a_report() -> None:
    before = report(PENDING, screening(2, review_required=True), screening(3, status="suspended"))
    after = rules.cancel(before, "requested", T1)
    assert (after.status, after.result, after.includes_canceled, after.completed_at) == ("canceled", None, False, T1)
    assert {one.cancellation_reason for one in after.screenings} == {"requested"}


def test_canceling_what_is_left_of_a_report_completes_it() -> None:
    before = report(screening(1, status="complete", result="consider", completed_at=T0), screening(2))
    after = rules.cancel(before, "candidate_withdrew_consent", T1)
    assert (after.status, after.result, after.includes_canceled) == ("complete", "consider", True)
    assert after.screenings[0] == before.screenings[0]


def test_canceling_one_screening_leaves_the_others() -> None:
    after = rules.cancel(report(PENDING, screening(2)), "candidate_erased", T1, "scr_2")
    assert [one.status for one in after.screenings] == ["pending", "canceled"]
    assert after.status == "pending"
