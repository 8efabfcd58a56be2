"""A stage for tests of the screening domain: one tenant's account, a person, consent, and engines that obey."""

import hashlib
from datetime import date
from typing import Any

import msgspec

from shared.core.ids import TenantId, new_id
from shared.screening import candidates, reports
from shared.screening.engines.base import EngineResult, Finding, PotentialMatch
from shared.screening.models import Authorization, AuthorizationData, Candidate, CandidateData, Report, SignedText
from shared.screening.store import ScreeningStore
from tests.fakes import CONTOSO_HR, START, InMemoryDocuments, RecordingScreenings, tenant_documents

TEXT = SignedText(version="2026-01", sha256=hashlib.sha256(b"text").hexdigest())
CONSENT = AuthorizationData(
    permissible_purpose="employment",
    employer_certification=True,
    disclosure=TEXT,
    authorization=TEXT,
    signed_at="2026-11-23T10:00:00Z",
)
PERSON = CandidateData(first_name="Ada", last_name="Ferrero", dob=date(1990, 2, 28), ssn="219-09-9998")


class FakeEngine:
    """Gives the answers that it was told, and notes whom it was asked about."""

    name = "fake"
    version = "7"

    def __init__(self, *answers: EngineResult) -> None:
        self._answers = list(answers)
        self.subjects: list[Any] = []

    def run(self, subject: Any, today: Any) -> EngineResult:
        self.subjects.append((subject, today))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


CLEAR = EngineResult(outcome="clear")
CONSIDER = EngineResult(outcome="consider", findings=(Finding(code="seen", text="Something was seen."),))
MATCH = PotentialMatch(
    list_name="sample", entry_id="1", matched_name="A", primary_name="A", programs=("X",), score=0.9, name_score=0.9,
    weak_alias=False, agrees=(), disagrees=(),
)  # fmt: skip
HIT = EngineResult(outcome="needs_review", findings=(Finding(code="potential_match", text="Maybe.", match=MATCH),))
LACKING = EngineResult(
    outcome="clear", findings=(Finding(code="missing_required_information", text="There is no number."),)
)


class Stage:
    """One tenant's account with a candidate, and what is around it."""

    def __init__(self) -> None:
        self.documents: InMemoryDocuments = tenant_documents()
        self.store = ScreeningStore(self.documents)
        self.queue = RecordingScreenings()
        self.now = START

    async def candidate(self, **changes: Any) -> Candidate:
        data = msgspec.convert(msgspec.to_builtins(PERSON) | changes, CandidateData)
        return await candidates.create(self.store, data, new_id("cand", self.now), self.now)

    async def authorization(self, candidate_id: str) -> Authorization:
        return await candidates.authorize(
            self.store, candidate_id, new_id("auth", self.now), CONSENT, "user:hr", self.now
        )

    async def order(self, candidate_id: str, package: str = "essential", report_id: str | None = None) -> Report:
        return await reports.order(
            self.store, self.queue, TenantId(CONTOSO_HR.tenant_id), report_id or new_id("rep", self.now),
            candidate_id, package, "api", self.now,
        )  # fmt: skip

    async def ordered(self, package: str = "essential") -> Report:
        """A report for a new candidate with an authorization."""
        candidate = await self.candidate()
        await self.authorization(candidate.id)
        return await self.order(candidate.id, package)

    async def report(self, report_id: str) -> Report:
        return (await self.store.report(report_id)).value
