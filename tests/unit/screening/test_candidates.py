import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import new_id
from shared.screening import candidates
from shared.screening.models import Address, CandidateData, CandidatePatch, candidate_view
from tests.stage import CONSENT, PERSON


def kinds(documents: Any) -> Any:
    return [body["kind"] for body in documents.all("candidates")]


async def test_a_candidate_is_stored_and_shown_with_a_masked_number(stage: Any) -> None:
    made = await stage.candidate()
    assert (await stage.store.candidate(made.id)).value == made
    shown = candidate_view(made)
    assert (shown.first_name, shown.ssn) == ("Ada", "XXX-XX-9998")
    assert "219" not in msgspec.json.encode(shown).decode()
    assert candidate_view(await stage.candidate(ssn=None)).ssn is None


async def test_what_is_not_known_of_an_address_is_shown_as_null(stage: Any) -> None:
    made = await stage.candidate(address=Address(city="London"))
    shown = msgspec.to_builtins(candidate_view(made))["address"]
    assert shown == {"street": None, "city": "London", "state": None, "zipcode": None, "country": None}


async def test_a_candidate_is_not_shown_by_its_representation(stage: Any) -> None:
    made = await stage.candidate()
    patch = CandidatePatch(first_name="Ada")
    for text in (repr(made), str(PERSON), f"{patch}", repr([made])):
        assert "Ada" not in text
        assert "219" not in text


@pytest.mark.parametrize("dob", ["2026-11-25", "2027-01-01", "1905-12-31", "0001-01-01", "9999-12-31"])
async def test_a_date_of_birth_of_nobody_is_refused(stage: Any, dob: Any) -> None:
    with pytest.raises(BulkheadError) as caught:
        await stage.candidate(dob=dob)
    assert caught.value.kind is Kind.UNPROCESSABLE
    assert [field.pointer for field in caught.value.fields] == ["/dob"]
    assert dob not in caught.value.fields[0].detail


@pytest.mark.parametrize("dob", ["2026-11-24", "1906-01-01", "2000-02-29", None])
async def test_dates_of_birth_up_to_today(stage: Any, dob: Any) -> None:
    await stage.candidate(dob=dob)


async def test_the_same_id_again_gives_what_is_stored(stage: Any) -> None:
    made = await stage.candidate()
    again = await candidates.create(stage.store, CandidateData(first_name="B", last_name="C"), made.id, stage.now)
    assert again == made


async def test_a_patch_changes_what_it_names_and_null_removes(stage: Any) -> None:
    made = await stage.candidate(email="ada@example.com", middle_name="M")
    etag = (await stage.store.candidate(made.id)).etag
    later = stage.now + timedelta(hours=1)
    change = CandidatePatch(last_name="Rossi", middle_name=None)
    patched = await candidates.patch(stage.store, made.id, change, etag, later)
    assert (patched.value.last_name, patched.value.middle_name) == ("Rossi", None)
    assert (patched.value.first_name, patched.value.email, patched.value.dob) == ("Ada", "ada@example.com", made.dob)
    assert patched.value.created_at == made.created_at < patched.value.updated_at
    assert (await stage.store.candidate(made.id)) == patched


async def test_a_patch_of_an_old_state_is_refused(stage: Any) -> None:
    made = await stage.candidate()
    etag = (await stage.store.candidate(made.id)).etag
    await candidates.patch(stage.store, made.id, CandidatePatch(last_name="First"), etag, stage.now)
    with pytest.raises(BulkheadError) as caught:
        await candidates.patch(stage.store, made.id, CandidatePatch(last_name="Second"), etag, stage.now)
    assert caught.value.kind is Kind.PRECONDITION_FAILED
    assert (await stage.store.candidate(made.id)).value.last_name == "First"


async def test_a_patch_of_whatever_there_is_comes_after_changes_of_others(stage: Any) -> None:
    made = await stage.candidate()
    changes = [CandidatePatch(last_name="Rossi"), CandidatePatch(custom_id="7"), CandidatePatch(middle_name="M")]
    patched = await asyncio.gather(
        *(candidates.patch(stage.store, made.id, change, "*", stage.now) for change in changes)
    )
    stored = (await stage.store.candidate(made.id)).value
    assert (stored.last_name, stored.custom_id, stored.middle_name) == ("Rossi", "7", "M")
    assert len({one.etag for one in patched}) == len(changes)


async def test_a_patch_of_whatever_there_is_fails_at_once_when_the_account_does_not_answer(stage: Any) -> None:
    made = await stage.candidate()
    stage.documents.failures = [None, BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No.")]
    with pytest.raises(BulkheadError) as caught:
        await candidates.patch(stage.store, made.id, CandidatePatch(last_name="Rossi"), "*", stage.now)
    assert caught.value.code == "account_unavailable"


async def test_a_patch_is_checked_as_a_whole(stage: Any) -> None:
    made = await stage.candidate()
    future = msgspec.convert({"dob": "2030-01-01"}, CandidatePatch)
    with pytest.raises(BulkheadError) as caught:
        await candidates.patch(stage.store, made.id, future, "*", stage.now)
    assert caught.value.kind is Kind.UNPROCESSABLE


@pytest.mark.parametrize("what", ["patch", "erase", "authorize", "withdraw"])
@pytest.mark.parametrize("candidate_id", ["", "cand_x", "../x", None])
async def test_nothing_can_be_done_with_an_unknown_candidate(stage: Any, what: Any, candidate_id: Any) -> None:
    candidate_id = candidate_id if candidate_id is not None else new_id("cand", stage.now)
    work = {
        "patch": lambda: candidates.patch(stage.store, candidate_id, CandidatePatch(), "*", stage.now),
        "erase": lambda: candidates.erase(stage.store, candidate_id, stage.now),
        "authorize": lambda: candidates.authorize(stage.store, candidate_id, "auth_1", CONSENT, "user:x", stage.now),
        "withdraw": lambda: candidates.withdraw(stage.store, candidate_id, new_id("auth", stage.now), stage.now),
    }[what]
    with pytest.raises(BulkheadError) as caught:
        await work()
    assert caught.value.kind is Kind.NOT_FOUND
    assert stage.documents.all("candidates") == []


# --- authorizations ---


async def test_consent_is_recorded_with_who_recorded_it(stage: Any) -> None:
    made = await stage.candidate()
    authorization = await stage.authorization(made.id)
    assert (authorization.recorded_by, authorization.candidate_id) == ("user:hr", made.id)
    assert (authorization.disclosure, authorization.withdrawn_at) == (CONSENT.disclosure, None)
    assert (await stage.store.authorizations(made.id)) == [authorization]


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"employer_certification": False}, ["/employer_certification"]),
        ({"signed_at": "2026-11-24T08:00:01Z"}, ["/signed_at"]),
        ({"signed_at": "2026-11-24T09:00:01+01:00"}, ["/signed_at"]),
        ({"signed_at": "2026-13-24T08:00:00Z"}, ["/signed_at"]),
        ({"signed_at": "2026-02-29T08:00:00Z"}, ["/signed_at"]),
        (
            {"employer_certification": False, "signed_at": "9999-12-31T00:00:00Z"},
            ["/employer_certification", "/signed_at"],
        ),
    ],
)
async def test_what_is_no_consent_is_refused(stage: Any, changes: Any, pointers: Any) -> None:
    made = await stage.candidate()
    data = msgspec.structs.replace(CONSENT, **changes)
    with pytest.raises(BulkheadError) as caught:
        await candidates.authorize(stage.store, made.id, new_id("auth", stage.now), data, "user:x", stage.now)
    assert [field.pointer for field in caught.value.fields] == pointers
    assert kinds(stage.documents) == ["candidate"]


async def test_consent_may_be_signed_this_very_moment(stage: Any) -> None:
    made = await stage.candidate()
    data = msgspec.structs.replace(CONSENT, signed_at="2026-11-24T08:00:00Z")
    await candidates.authorize(stage.store, made.id, new_id("auth", stage.now), data, "user:x", stage.now)


async def test_withdrawal_keeps_the_evidence_and_cancels_what_is_pending_under_it(stage: Any) -> None:
    report = await stage.ordered()
    authorization_id = report.authorization_id
    stage.now += timedelta(minutes=1)
    other = await stage.authorization(report.candidate_id)
    untouched = await stage.order(report.candidate_id)
    assert untouched.authorization_id == other.id
    await candidates.withdraw(stage.store, report.candidate_id, authorization_id, stage.now)
    evidence = (await stage.store.authorization(report.candidate_id, authorization_id)).value
    assert evidence.withdrawn_at == "2026-11-24T08:01:00.000Z"
    assert {one.cancellation_reason for one in (await stage.report(report.id)).screenings} == {
        "candidate_withdrew_consent"
    }
    assert await stage.report(untouched.id) == untouched


async def test_a_withdrawal_whose_answer_is_lost_goes_on(stage: Any) -> None:
    """The account is asked again then, and says that the authorization was changed."""
    report = await stage.ordered()
    replace = stage.documents.replace

    async def twice(*arguments: Any) -> Any:
        await replace(*arguments)
        return await replace(*arguments)

    stage.documents.replace = twice
    await candidates.withdraw(stage.store, report.candidate_id, report.authorization_id, stage.now)
    assert (await stage.report(report.id)).status == "canceled"


async def test_withdrawing_again_changes_nothing_but_finishes_what_was_left(stage: Any) -> None:
    report = await stage.ordered()
    stage.documents.failures_after = [BulkheadError(Kind.UNAVAILABLE, "crash", "The first try ended after one write.")]
    ids = (report.candidate_id, report.authorization_id)
    with pytest.raises(BulkheadError, match="crash"):
        await candidates.withdraw(stage.store, *ids, stage.now)
    assert (await stage.report(report.id)).status == "pending"
    first = (await stage.store.authorization(*ids)).value
    stage.now += timedelta(hours=1)
    await candidates.withdraw(stage.store, *ids, stage.now)
    assert (await stage.store.authorization(*ids)).value == first
    assert (await stage.report(report.id)).status == "canceled"


async def test_an_authorization_of_another_candidate_is_not_found(stage: Any) -> None:
    report = await stage.ordered()
    other = await stage.candidate()
    with pytest.raises(BulkheadError) as caught:
        await candidates.withdraw(stage.store, other.id, report.authorization_id, stage.now)
    assert caught.value.kind is Kind.NOT_FOUND


# --- erasure ---


async def test_erasing_removes_the_person_and_cancels_what_is_pending(stage: Any) -> None:
    report = await stage.ordered()
    await candidates.erase(stage.store, report.candidate_id, stage.now)
    with pytest.raises(BulkheadError):
        await stage.store.candidate(report.candidate_id)
    after = await stage.report(report.id)
    assert (after.status, after.result) == ("canceled", None)
    assert {one.cancellation_reason for one in after.screenings} == {"candidate_erased"}
    assert kinds(stage.documents) == ["authorization"]  # evidence is kept, by id only
    everything = str([stage.documents.all(container) for container in ("candidates", "reports", "settings")])
    for personal in ("Ada", "Ferrero", "219-09-9998", "1990-02-28"):
        assert personal not in everything


async def test_erasing_again_after_an_interruption_goes_on(stage: Any) -> None:
    report = await stage.ordered()
    stage.documents.failures_after = [BulkheadError(Kind.UNAVAILABLE, "crash", "The first try ended after one write.")]
    with pytest.raises(BulkheadError, match="crash"):
        await candidates.erase(stage.store, report.candidate_id, stage.now)
    await candidates.erase(stage.store, report.candidate_id, stage.now)
    assert kinds(stage.documents) == ["authorization"]


async def test_more_reports_than_a_page_are_canceled(stage: Any) -> None:
    report = await stage.ordered("watchlist")
    for _ in range(120):
        await stage.order(report.candidate_id, "watchlist")
    await candidates.erase(stage.store, report.candidate_id, stage.now)
    assert {body["status"] for body in stage.documents.all("reports")} == {"canceled"}
    assert len(stage.documents.all("reports")) == 121


async def test_reports_of_other_candidates_stay(stage: Any) -> None:
    one, other = await stage.ordered(), await stage.ordered()
    await candidates.erase(stage.store, one.candidate_id, stage.now)
    assert await stage.report(other.id) == other
