"""What can be done with candidates and their authorizations."""

from datetime import date, datetime

import msgspec

from shared.core.clock import rfc3339
from shared.core.errors import BulkheadError, FieldError, Kind, not_valid
from shared.screening import rules
from shared.screening.models import (
    Authorization,
    AuthorizationData,
    AuthorizationId,
    CancellationReason,
    Candidate,
    CandidateData,
    CandidateId,
    CandidatePatch,
)
from shared.screening.reports import change_report
from shared.screening.store import ScreeningStore, Versioned

_OLDEST = 120  # years
_ATTEMPTS = 8  # of changing a candidate that others change at the same time


async def create(store: ScreeningStore, data: CandidateData, candidate_id: CandidateId, now: datetime) -> Candidate:
    """Store a new candidate under `candidate_id`. Raises BulkheadError (unprocessable)."""
    _check(data.dob, now)
    stamp = rfc3339(now)
    candidate = Candidate(
        **{name: getattr(data, name) for name in CandidateData.__struct_fields__},
        id=candidate_id,
        created_at=stamp,
        updated_at=stamp,
    )
    return (await store.add_candidate(candidate)).value


async def patch(
    store: ScreeningStore, candidate_id: str, change: CandidatePatch, etag: str, now: datetime
) -> Versioned[Candidate]:
    """Change what `change` names in the state that `etag` names; `*`: in whatever there is, also after others' changes.

    Raises BulkheadError (not_found, precondition_failed, unavailable, unprocessable).
    """
    changes = {
        name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not msgspec.UNSET
    }
    for _ in range(_ATTEMPTS):
        current = await store.candidate(candidate_id)
        changed = msgspec.structs.replace(current.value, **changes, updated_at=rfc3339(now))
        _check(changed.dob, now)
        try:
            return await store.replace_candidate(changed, current.etag if etag == "*" else etag)
        except BulkheadError as error:
            if etag != "*" or error.kind is not Kind.PRECONDITION_FAILED:
                raise
    raise BulkheadError(Kind.UNAVAILABLE, "busy", "The candidate is being changed by others.", retry_after=1)


async def erase(store: ScreeningStore, candidate_id: str, now: datetime) -> None:
    """Erase the person's data and cancel what is pending. Raises BulkheadError (not_found)."""
    await store.candidate(candidate_id)
    await _cancel_open(store, candidate_id, "candidate_erased", now)
    await store.erase_candidate(candidate_id)


async def authorize(
    store: ScreeningStore, candidate_id: str, authorization_id: str, data: AuthorizationData, actor: str, now: datetime
) -> Authorization:
    """Record disclosure and consent. Raises BulkheadError (not_found, unprocessable)."""
    await store.candidate(candidate_id)
    faults = []
    if not data.employer_certification:
        faults.append(FieldError("/employer_certification", "The employer must certify (15 U.S.C. 1681b(b)(1))."))
    try:
        if datetime.fromisoformat(data.signed_at) > now:
            faults.append(FieldError("/signed_at", "This time is in the future."))
    except ValueError:
        faults.append(FieldError("/signed_at", "Expected a time as in RFC 3339."))
    if faults:
        raise not_valid(*faults)
    authorization = Authorization(
        id=AuthorizationId(authorization_id),
        candidate_id=CandidateId(candidate_id),
        permissible_purpose=data.permissible_purpose,
        employer_certification=data.employer_certification,
        disclosure=data.disclosure,
        authorization=data.authorization,
        signed_at=data.signed_at,
        recorded_by=actor,
        created_at=rfc3339(now),
    )
    return (await store.add_authorization(authorization)).value


async def withdraw(store: ScreeningStore, candidate_id: str, authorization_id: str, now: datetime) -> None:
    """Withdraw an authorization and cancel what is pending. Again changes nothing. Raises BulkheadError (not_found)."""
    current = await store.authorization(candidate_id, authorization_id)
    if current.value.withdrawn_at is None:
        withdrawn = msgspec.structs.replace(current.value, withdrawn_at=rfc3339(now))
        try:
            await store.replace_authorization(withdrawn, current.etag)
        except BulkheadError as error:
            # Nothing but a withdrawal changes it: another request's, or this one's, when the account's answer was lost.
            if error.kind is not Kind.PRECONDITION_FAILED:
                raise
    await _cancel_open(store, candidate_id, "candidate_withdrew_consent", now, authorization_id)


async def _cancel_open(
    store: ScreeningStore,
    candidate_id: str,
    reason: CancellationReason,
    now: datetime,
    authorization_id: str | None = None,
) -> None:
    """Cancel the open screenings of the candidate's reports (of those under one authorization only, if it is named)."""
    after = None
    while page := await store.reports(candidate_id=candidate_id, after=after):
        for report in page:
            if authorization_id in (None, report.authorization_id):
                await change_report(store, report.id, lambda one: rules.cancel(one, reason, rfc3339(now)))
        after = page[-1].id


def _check(dob: date | None, now: datetime) -> None:
    if dob is not None and not now.year - _OLDEST <= dob.year <= now.year:
        raise not_valid(FieldError("/dob", "This is no date of birth of a living person."))
    if dob is not None and dob > now.date():
        raise not_valid(FieldError("/dob", "This date is in the future."))
