"""Running one screening, as a job of the queue."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from shared.core.clock import rfc3339
from shared.core.errors import BulkheadError, Kind
from shared.screening import rules
from shared.screening.engines.base import Engine, Subject
from shared.screening.models import CancellationReason, Candidate, ReportId, ScreeningId, ScreeningType
from shared.screening.reports import change_report
from shared.screening.store import ScreeningStore


class Fate(StrEnum):
    """What became of a job."""

    DONE = "done"
    NOT_WRITTEN = "not_written"  # its report is not there (yet)


async def run_screening(
    store: ScreeningStore,
    engines: Mapping[ScreeningType, Engine],
    report_id: ReportId,
    screening_id: ScreeningId,
    now: datetime,
) -> Fate:
    """Run the screening if it still waits to be run, and write its outcome into the report.

    Delivered twice, it runs once: the second finds it concluded. Raises BulkheadError when the account cannot answer.
    """
    try:
        seen = await store.report(report_id)
    except BulkheadError as error:
        if error.kind is Kind.NOT_FOUND:
            return Fate.NOT_WRITTEN
        raise
    report = seen.value
    screening = rules.find(report, screening_id)
    if screening is None or screening.status != "pending" or screening.review_required:
        return Fate.DONE
    stamp = rfc3339(now)
    authorization = (await store.authorization(report.candidate_id, report.authorization_id)).value
    if authorization.withdrawn_at is not None:
        reason: CancellationReason = "candidate_withdrew_consent"
        await change_report(store, report_id, lambda one: rules.cancel(one, reason, stamp, screening_id), seen)
        return Fate.DONE
    try:
        candidate = (await store.candidate(report.candidate_id)).value
    except BulkheadError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
        await change_report(
            store, report_id, lambda one: rules.cancel(one, "candidate_erased", stamp, screening_id), seen
        )
        return Fate.DONE
    engine = engines[screening.type]
    outcome = engine.run(_subject(candidate), now.date())
    await change_report(
        store, report_id, lambda one: rules.conclude(one, screening_id, outcome, engine.version, stamp), seen
    )
    return Fate.DONE


def _subject(candidate: Candidate) -> Subject:
    # A residence tells something only beside a nationality: whoever is on a list of one country may live in another.
    countries = dict.fromkeys(candidate.nationalities)
    if countries and candidate.address is not None and candidate.address.country is not None:
        countries[candidate.address.country] = None
    return Subject(
        given_name=candidate.first_name,
        middle_name=candidate.middle_name or "",
        family_name=candidate.last_name,
        other_names=candidate.other_names,
        date_of_birth=candidate.dob,
        ssn=candidate.ssn,
        countries=tuple(countries),
        gender=candidate.gender,
    )
