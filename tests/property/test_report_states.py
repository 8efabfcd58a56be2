"""Whatever happens to a report in whatever order: what always holds of it, and what never changes back.

The rules are those of shared/screening/rules.py and of the screening field's states and words.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared.screening import rules
from shared.screening.engines.base import EngineResult
from shared.screening.models import Report, Review, Screening
from tests.stage import CLEAR, CONSIDER, HIT, LACKING

NUMBERS = st.integers(0, 4)  # some of them are of no screening
OUTCOMES = st.sampled_from([CLEAR, CONSIDER, HIT, LACKING])
DECISIONS = st.sampled_from(["confirmed", "dismissed"])
REASONS = st.sampled_from(["requested", "candidate_withdrew_consent", "candidate_erased"])
ENDED = ("complete", "canceled")


class ReportStates(RuleBasedStateMachine):
    @initialize(statuses=st.lists(st.sampled_from(["pending", "suspended"]), min_size=1, max_size=4))
    def order(self, statuses: Any) -> None:
        self.clock = 0
        screenings = tuple(
            Screening(id=f"scr_{number}", type="watchlist", status=status, created_at="0000")
            for number, status in enumerate(statuses)
        )
        self.report = Report(
            id="rep_1", candidate_id="cand_1", authorization_id="auth_1", package="p", screenings=screenings,
            status="suspended" if "suspended" in statuses else "pending", source="api",
            created_at="0000", updated_at="0000",
        )  # fmt: skip
        self.confirmed = set()
        self.concluded = {}

    def now(self) -> Any:
        self.clock += 1
        return f"{self.clock:04}"

    def become(self, after: Any) -> None:
        """The report after an event; what must hold from one state to the next."""
        before, self.report = self.report, after
        assert [one.id for one in after.screenings] == [one.id for one in before.screenings]
        assert (after.created_at, after.candidate_id, after.source) == (
            before.created_at, before.candidate_id, before.source,
        )  # fmt: skip
        for old, new in zip(before.screenings, after.screenings, strict=True):
            if old.status in ENDED:
                assert new == old, "what has ended stays as it is"
            if old.review_required and new.status == "complete":
                assert new.review is not None, "a potential match becomes a result by a person only"
        if before.status in ENDED:
            assert after == before
        assert (after.updated_at != before.updated_at) == (after != before)

    @rule(number=NUMBERS, outcome=OUTCOMES)
    def conclude(self, number: Any, outcome: EngineResult) -> None:
        screening_id = f"scr_{number}"
        before = rules.find(self.report, screening_id)
        self.become(rules.conclude(self.report, screening_id, outcome, "7", self.now()))
        if before is not None and before.status not in ENDED and not before.review_required:
            self.concluded[screening_id] = outcome
        else:
            assert rules.find(self.report, screening_id) == before, "it is concluded once"

    @rule(number=NUMBERS, outcome=OUTCOMES)
    def deliver_again(self, number: Any, outcome: EngineResult) -> None:
        once = rules.conclude(self.report, f"scr_{number}", outcome, "7", self.now())
        assert rules.conclude(once, f"scr_{number}", CONSIDER, "8", self.now()) == once
        self.become(once)
        screening = rules.find(once, f"scr_{number}")
        if screening is not None and screening.findings == outcome.findings and screening.engine_version:
            self.concluded.setdefault(screening.id, outcome)

    @rule(number=NUMBERS, decision=DECISIONS)
    def review(self, number: Any, decision: Any) -> None:
        before = rules.find(self.report, f"scr_{number}")
        verdict = Review(decision=decision, reviewed_by="user:r", reviewed_at=self.now())
        self.become(rules.review(self.report, f"scr_{number}", verdict, self.now()))
        after = rules.find(self.report, f"scr_{number}")
        if before is None or not before.review_required:
            assert after == before, "only what waits for a decision takes one"
        elif decision == "confirmed":
            self.confirmed.add(after.id)

    @rule(reason=REASONS)
    def cancel(self, reason: Any) -> None:
        self.become(rules.cancel(self.report, reason, self.now()))
        assert self.report.status in ENDED, "nothing stays open"
        assert rules.cancel(self.report, reason, self.now()) == self.report

    @rule(number=NUMBERS, reason=REASONS)
    def cancel_one(self, number: Any, reason: Any) -> None:
        before = self.report
        self.become(rules.cancel(self.report, reason, self.now(), f"scr_{number}"))
        for old, new in zip(before.screenings, self.report.screenings, strict=True):
            assert new == old or new.id == f"scr_{number}"

    @invariant()
    def every_screening_is_whole(self) -> None:
        for one in self.report.screenings:
            assert (one.result is not None) == (one.status == "complete")
            assert (one.cancellation_reason is not None) == (one.status == "canceled")
            assert (one.completed_at is not None) == (one.status in ENDED)
            assert not (one.review_required and one.status in ENDED)

    @invariant()
    def a_potential_match_is_never_a_result_of_itself(self) -> None:
        for one in self.report.screenings:
            if one.result == "consider":
                by_engine = self.concluded.get(one.id) is CONSIDER
                assert by_engine or one.id in self.confirmed
            if any(finding.match is not None for finding in one.findings) and one.status == "complete":
                assert one.review is not None

    @invariant()
    def the_report_follows_from_its_screenings(self) -> None:
        report = self.report
        states = [one.status for one in report.screenings]
        if all(state == "canceled" for state in states):
            assert (report.status, report.result, report.includes_canceled) == ("canceled", None, False)
        elif all(state in ENDED for state in states):
            assert report.status == "complete"
            results = [one.result for one in report.screenings]
            assert report.result == ("consider" if "consider" in results else "clear")
            assert report.includes_canceled == ("canceled" in states)
        else:
            assert report.status in ("pending", "suspended", "paused")
            assert report.result is None
            assert not report.includes_canceled
            waiting = [one for one in report.screenings if one.status not in ENDED]
            assert (report.status == "suspended") == any(one.status == "suspended" for one in waiting)
            assert (report.status == "paused") == (
                report.status != "suspended" and all(one.review_required for one in waiting)
            )
        assert (report.completed_at is not None) == (report.status in ENDED)


TestReportStates = ReportStates.TestCase
TestReportStates.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
