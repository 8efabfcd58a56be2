"""How screenings and reports change state. Pure: a state and a time in, the next state out.

States and words are those of docs/api.md. A report is derived from its screenings; nobody sets its status.
"""

from collections.abc import Callable

from msgspec.structs import replace

from shared.screening.engines.base import EngineResult
from shared.screening.models import (
    CancellationReason,
    Report,
    ReportStatus,
    Result,
    Review,
    Screening,
    ScreeningId,
)

_OPEN = frozenset({"pending", "suspended"})


def find(report: Report, screening_id: ScreeningId) -> Screening | None:
    """The screening of the report, if it is one of its own."""
    return next((screening for screening in report.screenings if screening.id == screening_id), None)


def conclude(report: Report, screening_id: ScreeningId, outcome: EngineResult, version: str, now: str) -> Report:
    """The report after an engine's answer. A screening that is no longer waiting for one stays as it is.

    A potential match is never a result of itself: a person confirms or dismisses it (15 U.S.C. 1681e(b)).
    """

    def answer(screening: Screening) -> Screening:
        if screening.review_required:
            return screening
        seen = replace(screening, findings=outcome.findings, engine_version=version)
        if outcome.lacks_required_information:
            return _canceled(seen, "missing_required_information", now)
        if outcome.outcome == "needs_review":
            return replace(seen, review_required=True)
        return replace(seen, status="complete", result=outcome.outcome, completed_at=now)

    return _with(report, screening_id, answer, now)


def review(report: Report, screening_id: ScreeningId, verdict: Review, now: str) -> Report:
    """The report after a reviewer's decision. A screening that waits for none stays as it is."""

    def decide(screening: Screening) -> Screening:
        if not screening.review_required:
            return screening
        result: Result = "consider" if verdict.decision == "confirmed" else "clear"
        return replace(
            screening, review_required=False, review=verdict, status="complete", result=result, completed_at=now
        )

    return _with(report, screening_id, decide, now)


def cancel(report: Report, reason: CancellationReason, now: str, only: ScreeningId | None = None) -> Report:
    """The report with its open screenings (or `only` one of them) canceled. What is complete stays complete."""
    changed = report
    for screening in report.screenings:
        if only is None or screening.id == only:
            changed = _with(changed, screening.id, lambda open_one: _canceled(open_one, reason, now), now)
    return changed


def _canceled(screening: Screening, reason: CancellationReason, now: str) -> Screening:
    return replace(screening, status="canceled", cancellation_reason=reason, review_required=False, completed_at=now)


def _with(report: Report, screening_id: ScreeningId, change: Callable[[Screening], Screening], now: str) -> Report:
    """The report with one open screening changed, and what follows from that for the whole."""
    screening = find(report, screening_id)
    if screening is None or screening.status not in _OPEN:
        return report
    changed = change(screening)
    if changed == screening:
        return report
    screenings = tuple(changed if one.id == screening_id else one for one in report.screenings)
    status = _status(screenings)
    done = status in ("complete", "canceled")
    return replace(
        report,
        screenings=screenings,
        status=status,
        result=_result(screenings) if status == "complete" else None,
        includes_canceled=status == "complete" and any(one.status == "canceled" for one in screenings),
        updated_at=now,
        completed_at=now if done else None,
    )


def _status(screenings: tuple[Screening, ...]) -> ReportStatus:
    waiting = [screening for screening in screenings if screening.status in _OPEN]
    if not waiting:
        return "canceled" if all(screening.status == "canceled" for screening in screenings) else "complete"
    if any(screening.status == "suspended" for screening in waiting):
        return "suspended"
    return "paused" if all(screening.review_required for screening in waiting) else "pending"


def _result(screenings: tuple[Screening, ...]) -> Result:
    return "consider" if any(screening.result == "consider" for screening in screenings) else "clear"
