"""What can be done with reports: order, cancel, review."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from shared.core.clock import rfc3339
from shared.core.errors import BulkheadError, FieldError, Kind, not_valid
from shared.core.ids import TenantId, derived_id
from shared.screening import rules
from shared.screening.models import (
    CandidateId,
    Report,
    ReportId,
    Review,
    ReviewDecision,
    Screening,
    ScreeningId,
    ScreeningJob,
)
from shared.screening.ports import ScreeningQueue
from shared.screening.store import ScreeningStore, Versioned

_HEAD_START = 1.0  # seconds: jobs appear when the report that they belong to has most likely been written
_ATTEMPTS = 8  # of changing a report that others change at the same time


async def order(
    store: ScreeningStore,
    queue: ScreeningQueue,
    tenant_id: TenantId,
    report_id: ReportId,
    candidate_id: str,
    package_slug: str,
    source: Literal["api", "queue"],
    now: datetime,
) -> Report:
    """Order a background check under `report_id`; the same id again gives the report that is there.

    The jobs are enqueued before the report is written, so that no accepted report can be without its jobs; a job
    that finds no report waits for it and then ends (jobs.py). Raises BulkheadError: unprocessable for an unknown
    candidate or package, conflict without an authorization.
    """
    faults = []
    package = None
    try:
        await store.candidate(candidate_id)
    except BulkheadError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
        faults.append(FieldError("/candidate_id", "There is no such candidate."))
    try:
        package = (await store.package(package_slug)).value
    except BulkheadError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
        faults.append(FieldError("/package", "There is no such package."))
    if faults or package is None:
        raise not_valid(*faults)
    authorization = await store.authorization_in_force(candidate_id)
    if authorization is None:
        raise BulkheadError(
            Kind.CONFLICT, "authorization_required", "The candidate has no authorization in force (15 U.S.C. 1681b(b))."
        )
    stamp = rfc3339(now)
    screenings = tuple(
        Screening(id=ScreeningId(derived_id("scr", now, report_id, kind)), type=kind, created_at=stamp)
        for kind in package.screenings
    )
    report = Report(
        id=report_id,
        candidate_id=CandidateId(candidate_id),
        authorization_id=authorization.id,
        package=package.slug,
        screenings=screenings,
        source=source,
        created_at=stamp,
        updated_at=stamp,
    )
    jobs = [
        ScreeningJob(tenant_id=tenant_id, report_id=report_id, screening_id=screening.id, accepted_at=stamp)
        for screening in screenings
    ]
    await queue.enqueue(jobs, _HEAD_START)
    return (await store.add_report(report)).value


async def cancel(store: ScreeningStore, report_id: str, now: datetime, *, again: bool = False) -> Versioned[Report]:
    """Cancel what is open. Raises BulkheadError: not_found, conflict when nothing is.

    `again`: this request was begun before, and may have canceled the report then.
    """
    current = await store.report(report_id)
    if again and any(screening.cancellation_reason == "requested" for screening in current.value.screenings):
        return current
    if current.value.status in ("complete", "canceled"):
        raise BulkheadError(Kind.CONFLICT, "report_ended", "The report has ended already.")
    return await change_report(store, report_id, lambda report: rules.cancel(report, "requested", rfc3339(now)))


async def review(
    store: ScreeningStore,
    report_id: str,
    screening_id: str,
    decision: ReviewDecision,
    actor: str,
    now: datetime,
    *,
    again: bool = False,
) -> Versioned[Report]:
    """Confirm or dismiss a potential match. Raises BulkheadError: not_found, conflict when none waits for it.

    `again`: this request was begun before, and may have reviewed it then.
    """
    verdict = Review(decision=decision.decision, reviewed_by=actor, reviewed_at=rfc3339(now))

    def decide(report: Report) -> Report:
        screening = rules.find(report, ScreeningId(screening_id))
        if screening is None:
            raise BulkheadError(Kind.NOT_FOUND, "not_found", "There is no such screening.")
        if screening.review == verdict or (again and _same_word(screening.review, verdict)):
            return report  # this request's own: only the account's answer was lost
        if not screening.review_required:
            raise BulkheadError(Kind.CONFLICT, "no_review_required", "This screening waits for no review.")
        return rules.review(report, screening.id, verdict, rfc3339(now))

    return await change_report(store, report_id, decide)


def _same_word(one: Review | None, other: Review) -> bool:
    return one is not None and (one.decision, one.reviewed_by) == (other.decision, other.reviewed_by)


async def change_report(
    store: ScreeningStore,
    report_id: str,
    change: Callable[[Report], Report],
    seen: Versioned[Report] | None = None,
) -> Versioned[Report]:
    """Apply `change` to the newest state, again when another change came first. Raises BulkheadError.

    `seen` is a state that was just read, to begin with.
    """
    for _ in range(_ATTEMPTS):
        current, seen = seen or await store.report(report_id), None
        changed = change(current.value)
        if changed == current.value:
            return current
        try:
            return await store.replace_report(changed, current.etag)
        except BulkheadError as error:
            if error.kind is not Kind.PRECONDITION_FAILED:
                raise
    raise BulkheadError(Kind.UNAVAILABLE, "busy", "The report is being changed by others.", retry_after=1)
