import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import is_id, new_id
from shared.screening import candidates, reports, rules
from shared.screening.models import Review, ReviewDecision
from tests.fakes import CONTOSO_HR
from tests.stage import CLEAR, HIT


async def test_the_authorization_in_force_is_found_behind_many_withdrawn_ones(stage: Any) -> None:
    candidate = await stage.candidate()
    kept = await stage.authorization(candidate.id)
    for _ in range(101):
        stage.now += timedelta(seconds=1)
        withdrawn = await stage.authorization(candidate.id)
        await candidates.withdraw(stage.store, candidate.id, withdrawn.id, stage.now)
    assert (await stage.order(candidate.id)).authorization_id == kept.id


async def test_an_order_makes_a_report_with_a_screening_each(stage: Any) -> None:
    report = await stage.ordered("essential")
    assert [one.type for one in report.screenings] == ["ssn_trace", "watchlist"]
    assert (report.status, report.result, report.package, report.source) == ("pending", None, "essential", "api")
    assert all(is_id("scr", one.id) and one.status == "pending" for one in report.screenings)
    assert await stage.report(report.id) == report


async def test_jobs_carry_ids_only_and_come_a_moment_later(stage: Any) -> None:
    report = await stage.ordered()
    assert [(job.tenant_id, job.report_id, job.screening_id, job.attempt) for job in stage.queue.jobs] == [
        (CONTOSO_HR.tenant_id, report.id, one.id, 1) for one in report.screenings
    ]
    assert set(stage.queue.delays) == {1.0}
    assert stage.queue.jobs[0].accepted_at == report.created_at


async def test_jobs_are_enqueued_before_the_report_is_written(stage: Any) -> None:
    candidate = await stage.candidate()
    await stage.authorization(candidate.id)
    stage.queue.failures = [BulkheadError(Kind.UNAVAILABLE, "queue_unavailable", "No.")]
    with pytest.raises(BulkheadError, match="queue_unavailable"):
        await stage.order(candidate.id)
    assert stage.documents.all("reports") == []

    stage.documents.calls.clear()
    seen = []
    enqueue = stage.queue.enqueue

    async def watched(jobs: Any, delay: Any) -> None:
        seen.extend(call for call in stage.documents.calls if call[1] == "reports")
        await enqueue(jobs, delay)

    stage.queue.enqueue = watched
    await stage.order(candidate.id)
    assert seen == []
    assert len(stage.documents.all("reports")) == 1


async def test_the_same_id_twice_makes_one_report(stage: Any) -> None:
    candidate = await stage.candidate()
    await stage.authorization(candidate.id)
    report_id = new_id("rep", stage.now)
    first = await stage.order(candidate.id, report_id=report_id)
    stage.now += timedelta(minutes=5)
    assert await stage.order(candidate.id, report_id=report_id) == first
    assert len(stage.documents.all("reports")) == 1


async def test_the_same_id_twice_at_once_makes_one_report_whose_jobs_are_there(stage: Any) -> None:
    candidate = await stage.candidate()
    await stage.authorization(candidate.id)
    report_id = new_id("rep", stage.now)
    both = await asyncio.gather(*(stage.order(candidate.id, report_id=report_id) for _ in range(2)))
    assert both[0] == both[1] == await stage.report(report_id)
    assert {one.id for one in both[0].screenings} <= {job.screening_id for job in stage.queue.jobs}


async def test_an_order_that_ends_between_queue_and_report_can_be_given_again(stage: Any) -> None:
    candidate = await stage.candidate()
    await stage.authorization(candidate.id)
    report_id = new_id("rep", stage.now)
    enqueue = stage.queue.enqueue

    async def then_fail(jobs: Any, delay: Any) -> None:
        await enqueue(jobs, delay)
        stage.documents.failures = [BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No.")]

    stage.queue.enqueue = then_fail
    with pytest.raises(BulkheadError, match="account_unavailable"):
        await stage.order(candidate.id, report_id=report_id)
    stage.queue.enqueue = enqueue
    stage.now += timedelta(seconds=30)
    report = await stage.order(candidate.id, report_id=report_id)
    assert {one.id for one in report.screenings} <= {job.screening_id for job in stage.queue.jobs}


async def test_without_consent_nothing_starts(stage: Any) -> None:
    candidate = await stage.candidate()
    with pytest.raises(BulkheadError) as caught:
        await stage.order(candidate.id)
    assert (caught.value.kind, caught.value.code) == (Kind.CONFLICT, "authorization_required")
    authorization = await stage.authorization(candidate.id)
    await candidates.withdraw(stage.store, candidate.id, authorization.id, stage.now)
    with pytest.raises(BulkheadError, match="authorization_required"):
        await stage.order(candidate.id)
    assert stage.queue.jobs == stage.documents.all("reports") == []


async def test_the_newest_consent_in_force_counts(stage: Any) -> None:
    candidate = await stage.candidate()
    first = await stage.authorization(candidate.id)
    stage.now += timedelta(minutes=1)
    second = await stage.authorization(candidate.id)
    assert (await stage.order(candidate.id)).authorization_id == second.id
    await candidates.withdraw(stage.store, candidate.id, second.id, stage.now)
    assert (await stage.order(candidate.id)).authorization_id == first.id


@pytest.mark.parametrize(
    ("candidate_id", "package", "pointers"),
    [
        ("cand_unknown", "essential", ["/candidate_id"]),
        (None, "unknown", ["/package"]),
        (None, "../candidates/x", ["/package"]),
        ("", "", ["/candidate_id", "/package"]),
    ],
)
async def test_an_order_of_something_unknown_names_every_fault(
    stage: Any, candidate_id: Any, package: Any, pointers: Any
) -> None:
    known = await stage.candidate()
    await stage.authorization(known.id)
    with pytest.raises(BulkheadError) as caught:
        await stage.order(known.id if candidate_id is None else candidate_id, package)
    assert caught.value.kind is Kind.UNPROCESSABLE
    assert [field.pointer for field in caught.value.fields] == pointers
    assert stage.queue.jobs == []


@pytest.mark.parametrize("call", range(4))  # candidate, package, authorizations, report
async def test_an_account_that_does_not_answer_is_no_unknown_candidate(stage: Any, call: Any) -> None:
    candidate = await stage.candidate()
    await stage.authorization(candidate.id)
    stage.documents.failures = [None] * call + [BulkheadError(Kind.THROTTLED, "account_throttled", "Busy.")]
    with pytest.raises(BulkheadError, match="account_throttled"):
        await stage.order(candidate.id)
    assert stage.documents.all("reports") == []


# --- canceling and reviewing ---


async def test_a_report_can_be_canceled_once(stage: Any) -> None:
    report = await stage.ordered()
    canceled = (await reports.cancel(stage.store, report.id, stage.now)).value
    assert canceled.status == "canceled"
    assert await stage.report(report.id) == canceled
    with pytest.raises(BulkheadError) as caught:
        await reports.cancel(stage.store, report.id, stage.now)
    assert (caught.value.kind, caught.value.code) == (Kind.CONFLICT, "report_ended")


async def test_a_cancellation_that_is_carried_on_finds_what_it_did(stage: Any) -> None:
    report = await stage.ordered()
    canceled = await reports.cancel(stage.store, report.id, stage.now)
    assert await reports.cancel(stage.store, report.id, stage.now, again=True) == canceled


async def test_a_cancellation_that_is_carried_on_does_not_take_anothers_end_for_its_own(stage: Any) -> None:
    report = await stage.ordered()
    await reports.change_report(
        stage.store, report.id, lambda one: rules.cancel(one, "candidate_withdrew_consent", one.updated_at)
    )
    with pytest.raises(BulkheadError, match="report_ended"):
        await reports.cancel(stage.store, report.id, stage.now, again=True)


async def waiting_for_review(stage: Any) -> Any:
    report = await stage.ordered("watchlist")
    screening_id = report.screenings[0].id
    await reports.change_report(
        stage.store, report.id, lambda one: rules.conclude(one, screening_id, HIT, "7", one.updated_at)
    )
    return report.id, screening_id


@pytest.mark.parametrize(("decision", "result"), [("confirmed", "consider"), ("dismissed", "clear")])
async def test_a_potential_match_is_decided_by_a_person(stage: Any, decision: Any, result: Any) -> None:
    report_id, screening_id = await waiting_for_review(stage)
    assert ((await stage.report(report_id)).status, (await stage.report(report_id)).result) == ("paused", None)
    word = ReviewDecision(decision=decision)
    reviewed = (await reports.review(stage.store, report_id, screening_id, word, "user:r", stage.now)).value
    assert (reviewed.status, reviewed.result) == ("complete", result)
    assert reviewed.screenings[0].review == Review(
        decision=decision, reviewed_by="user:r", reviewed_at="2026-11-24T08:00:00.000Z"
    )
    with pytest.raises(BulkheadError, match="no_review_required"):
        await reports.review(stage.store, report_id, screening_id, word, "user:other", stage.now)


async def test_a_review_whose_answer_is_lost_is_there(stage: Any) -> None:
    """The account is asked again then, and says that the report was changed."""
    report_id, screening_id = await waiting_for_review(stage)
    word, store = ReviewDecision(decision="confirmed"), stage.store
    replace = stage.documents.replace

    async def twice(*arguments: Any) -> Any:
        await replace(*arguments)
        return await replace(*arguments)

    stage.documents.replace = twice
    reviewed = await reports.review(store, report_id, screening_id, word, "user:r", stage.now)
    assert reviewed.value == await stage.report(report_id)


async def test_a_review_that_is_carried_on_finds_what_it_said(stage: Any) -> None:
    report_id, screening_id = await waiting_for_review(stage)
    word, other = ReviewDecision(decision="confirmed"), ReviewDecision(decision="dismissed")
    store, later = stage.store, stage.now + timedelta(seconds=9)
    reviewed = await reports.review(store, report_id, screening_id, word, "user:r", stage.now)
    assert await reports.review(store, report_id, screening_id, word, "user:r", later, again=True) == reviewed
    for said, actor, again in ((word, "user:r", False), (other, "user:r", True), (word, "user:other", True)):
        with pytest.raises(BulkheadError, match="no_review_required"):
            await reports.review(store, report_id, screening_id, said, actor, later, again=again)


async def test_only_what_waits_is_reviewed(stage: Any) -> None:
    report = await stage.ordered()
    word = ReviewDecision(decision="confirmed")
    with pytest.raises(BulkheadError, match="no_review_required"):
        await reports.review(stage.store, report.id, report.screenings[0].id, word, "user:r", stage.now)
    with pytest.raises(BulkheadError) as caught:
        await reports.review(stage.store, report.id, "scr_x", word, "user:r", stage.now)
    assert caught.value.kind is Kind.NOT_FOUND


@pytest.mark.parametrize("report_id", ["rep_x", "", None])
async def test_an_unknown_report_is_not_found(stage: Any, report_id: Any) -> None:
    report_id = new_id("rep", stage.now) if report_id is None else report_id
    for work in (
        reports.cancel(stage.store, report_id, stage.now),
        reports.review(stage.store, report_id, "scr_1", ReviewDecision(decision="confirmed"), "user:r", stage.now),
    ):
        with pytest.raises(BulkheadError) as caught:
            await work
        assert caught.value.kind is Kind.NOT_FOUND


# --- changes at the same time ---


async def test_changes_at_the_same_time_are_all_kept(stage: Any) -> None:
    report = await stage.ordered()
    await asyncio.gather(
        *(
            reports.change_report(
                stage.store, report.id, lambda one, wanted=wanted: rules.conclude(one, wanted.id, CLEAR, "7", "t")
            )
            for wanted in report.screenings
        )
    )
    after = await stage.report(report.id)
    assert [one.status for one in after.screenings] == ["complete", "complete"]
    assert (after.status, after.result) == ("complete", "clear")


async def test_a_change_that_always_comes_too_late_gives_up(stage: Any) -> None:
    report = await stage.ordered()
    stage.documents.steals = 100
    with pytest.raises(BulkheadError) as caught:
        await reports.cancel(stage.store, report.id, stage.now)
    assert (caught.value.kind, caught.value.code) == (Kind.UNAVAILABLE, "busy")


@pytest.mark.parametrize("call", range(2))  # read, write
async def test_an_account_that_does_not_answer_is_told(stage: Any, call: Any) -> None:
    report = await stage.ordered()
    stage.documents.failures = [None] * call + [BulkheadError(Kind.THROTTLED, "account_throttled", "Busy.")]
    with pytest.raises(BulkheadError, match="account_throttled"):
        await reports.cancel(stage.store, report.id, stage.now)
    assert await stage.report(report.id) == report


async def test_a_change_to_nothing_writes_nothing(stage: Any) -> None:
    report = await stage.ordered()
    stage.documents.calls.clear()
    await reports.change_report(stage.store, report.id, lambda one: one)
    assert [operation for operation, _, _ in stage.documents.calls] == ["read"]


async def test_lists_are_newest_first_and_can_be_narrowed(stage: Any) -> None:
    one = await stage.ordered()
    stage.now += timedelta(minutes=1)
    other = await stage.ordered()
    await reports.cancel(stage.store, one.id, stage.now)
    assert [report.id for report in await stage.store.reports()] == [other.id, one.id]
    assert [report.id for report in await stage.store.reports(status="canceled")] == [one.id]
    assert [report.id for report in await stage.store.reports(candidate_id=other.candidate_id)] == [other.id]
    assert [report.id for report in await stage.store.reports(after=other.id, limit=1)] == [one.id]
