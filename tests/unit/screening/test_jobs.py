import asyncio
from datetime import date, timedelta
from typing import Any

import pytest

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import new_id
from shared.screening import candidates, reports
from shared.screening.jobs import Fate, run_screening
from tests.stage import CLEAR, HIT, LACKING, FakeEngine


def engines(*answers: Any) -> Any:
    return {"watchlist": FakeEngine(*(answers or (CLEAR,))), "ssn_trace": FakeEngine(CLEAR)}


async def run(stage: Any, made: Any, report: Any, number: Any = 0) -> Any:
    return await run_screening(stage.store, made, report.id, report.screenings[number].id, stage.now)


async def test_a_screening_is_run_and_its_outcome_written(stage: Any) -> None:
    report, made = await stage.ordered(), engines()
    assert await run(stage, made, report, 1) is Fate.DONE
    after = await stage.report(report.id)
    assert (after.status, [one.status for one in after.screenings]) == ("pending", ["pending", "complete"])
    assert after.screenings[1].engine_version == "7"
    assert await run(stage, made, report, 0) is Fate.DONE
    assert ((await stage.report(report.id)).status, (await stage.report(report.id)).result) == ("complete", "clear")


async def test_the_engine_gets_what_it_needs_and_no_more(stage: Any) -> None:
    candidate = await stage.candidate(
        middle_name="M", other_names=["A. F."], nationalities=["IT", "US"], gender="female",
        address={"country": "US"}, email="a@example.com", custom_id="hr-7",
    )  # fmt: skip
    await stage.authorization(candidate.id)
    report, made = await stage.order(candidate.id, "watchlist"), engines()
    await run(stage, made, report)
    ((subject, today),) = made["watchlist"].subjects
    assert today == date(2026, 11, 24)
    assert (subject.given_name, subject.middle_name, subject.family_name) == ("Ada", "M", "Ferrero")
    assert (subject.other_names, subject.date_of_birth, subject.gender) == (("A. F.",), date(1990, 2, 28), "female")
    assert subject.ssn == "219-09-9998"
    shown = str([getattr(subject, name) for name in subject.__struct_fields__])
    assert "'IT'" in shown
    assert "example.com" not in shown
    assert "hr-7" not in shown


@pytest.mark.parametrize(("nationalities", "countries"), [([], ()), (["IT"], ("IT", "US"))])
async def test_a_residence_is_told_beside_a_nationality_only(stage: Any, nationalities: Any, countries: Any) -> None:
    candidate = await stage.candidate(nationalities=nationalities, address={"country": "US"})
    await stage.authorization(candidate.id)
    report, made = await stage.order(candidate.id, "watchlist"), engines()
    await run(stage, made, report)
    ((subject, _),) = made["watchlist"].subjects
    assert subject.countries == countries


async def test_delivered_twice_it_runs_once(stage: Any) -> None:
    report, made = await stage.ordered("watchlist"), engines()
    for _ in range(2):
        assert await run(stage, made, report) is Fate.DONE
    assert len(made["watchlist"].subjects) == 1
    after = await stage.report(report.id)
    stage.now += timedelta(hours=1)
    await run(stage, made, report)
    assert await stage.report(report.id) == after


async def test_delivered_twice_at_once_it_concludes_once(stage: Any) -> None:
    report, made = await stage.ordered("watchlist"), engines(HIT, CLEAR)
    assert await asyncio.gather(run(stage, made, report), run(stage, made, report)) == [Fate.DONE, Fate.DONE]
    after = (await stage.report(report.id)).screenings[0]
    assert (after.review_required, after.status) == (True, "pending")  # the first answer; the second did not undo it


async def test_a_potential_match_is_not_asked_about_again(stage: Any) -> None:
    report, made = await stage.ordered("watchlist"), engines(HIT, CLEAR)
    for _ in range(3):
        await run(stage, made, report)
    assert len(made["watchlist"].subjects) == 1
    assert (await stage.report(report.id)).status == "paused"


async def test_a_screening_without_its_information_is_canceled(stage: Any) -> None:
    report = await stage.ordered("watchlist")
    await run(stage, engines(LACKING), report)
    after = await stage.report(report.id)
    assert (after.status, after.screenings[0].cancellation_reason) == ("canceled", "missing_required_information")


async def test_without_its_report_it_is_not_run(stage: Any) -> None:
    made = engines()
    fate = await run_screening(stage.store, made, new_id("rep", stage.now), new_id("scr", stage.now), stage.now)
    assert fate is Fate.NOT_WRITTEN
    assert made["watchlist"].subjects == []


async def test_a_screening_that_the_report_does_not_have_is_done(stage: Any) -> None:
    """Of an order that was begun twice, the jobs of the one that did not become the report."""
    report, made = await stage.ordered(), engines()
    fate = await run_screening(stage.store, made, report.id, new_id("scr", stage.now), stage.now)
    assert fate is Fate.DONE
    assert await stage.report(report.id) == report


async def test_after_withdrawn_consent_nothing_is_run(stage: Any) -> None:
    report, made = await stage.ordered(), engines()
    stored = await stage.store.authorization(report.candidate_id, report.authorization_id)
    body = {"withdrawn_at": "2026-11-24T08:00:00.000Z"}  # withdrawn just as the report was being written
    stage.documents.damage("candidates", stored.value.id, body)
    assert await run(stage, made, report, 1) is Fate.DONE
    after = (await stage.report(report.id)).screenings
    assert [one.status for one in after] == ["pending", "canceled"]
    assert after[1].cancellation_reason == "candidate_withdrew_consent"
    assert made["watchlist"].subjects == []


async def test_an_erased_candidate_is_not_screened(stage: Any) -> None:
    report, made = await stage.ordered(), engines()
    await stage.store.erase_candidate(report.candidate_id)  # erased just as the report was being written
    assert await run(stage, made, report, 1) is Fate.DONE
    after = (await stage.report(report.id)).screenings
    assert [one.cancellation_reason for one in after] == [None, "candidate_erased"]
    assert made["watchlist"].subjects == []


@pytest.mark.parametrize("change", ["cancel", "withdraw", "erase"])
async def test_what_was_canceled_meanwhile_is_not_run(stage: Any, change: Any) -> None:
    report, made = await stage.ordered(), engines()
    await {
        "cancel": lambda: reports.cancel(stage.store, report.id, stage.now),
        "withdraw": lambda: candidates.withdraw(stage.store, report.candidate_id, report.authorization_id, stage.now),
        "erase": lambda: candidates.erase(stage.store, report.candidate_id, stage.now),
    }[change]()
    before = await stage.report(report.id)
    assert await run(stage, made, report, 1) is Fate.DONE
    assert made["watchlist"].subjects == []
    assert await stage.report(report.id) == before


async def test_what_is_canceled_while_the_engine_runs_stays_canceled(stage: Any) -> None:
    report = await stage.ordered("watchlist")
    task = asyncio.create_task(run(stage, engines(), report))
    await asyncio.sleep(0)
    await reports.cancel(stage.store, report.id, stage.now)
    assert await task is Fate.DONE
    assert (await stage.report(report.id)).status == "canceled"


@pytest.mark.parametrize("call", range(4))  # report, authorization, candidate, write
async def test_an_account_that_does_not_answer_leaves_the_screening_waiting(stage: Any, call: Any) -> None:
    report, made = await stage.ordered("watchlist"), engines()
    stage.documents.failures = [None] * call + [BulkheadError(Kind.THROTTLED, "account_throttled", "Busy.")]
    with pytest.raises(BulkheadError, match="account_throttled"):
        await run(stage, made, report)
    assert await stage.report(report.id) == report
    assert await run(stage, made, report) is Fate.DONE
    assert (await stage.report(report.id)).status == "complete"


async def test_a_document_that_cannot_be_read_tells_nothing_of_itself(stage: Any) -> None:
    report, made = await stage.ordered(), engines()
    stage.documents.damage("candidates", report.candidate_id, {"dob": "Ada-was-here"})
    with pytest.raises(BulkheadError) as caught:
        await run(stage, made, report, 1)
    assert (caught.value.kind, caught.value.code) == (Kind.BROKEN, "document_unreadable")
    assert "Ada" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
