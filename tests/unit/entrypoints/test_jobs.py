"""The queue's functions: what they do with a message, and that they finish what was accepted."""

import json
import logging
from datetime import timedelta
from typing import Any

import jwt
import msgspec
import pytest

from shared.core.clock import rfc3339
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import TenantId, is_id, new_id
from shared.entrypoints.jobs import JobFailedError
from shared.screening import candidates, reports
from shared.screening.store import ScreeningStore
from shared.tenants.models import SigningKey
from tests.fakes import AUDIENCE, CONTOSO, CONTOSO_HR, FABRIKAM, FABRIKAM_HR, rsa_key
from tests.stage import CLEAR, CONSENT, HIT, PERSON, FakeEngine

THROTTLED = BulkheadError(Kind.THROTTLED, "account_throttled", "Busy.", retry_after=5)
CLOSED = BulkheadError(Kind.UNAVAILABLE, "tenant_access_denied", "Step 3 of 5.", retry_after=60)


def events(caplog: pytest.LogCaptureFixture) -> Any:
    return [json.loads(record.message) for record in caplog.records if record.name == "bulkhead"]


async def order(world: Any, names: Any = CONTOSO_HR, package: Any = "watchlist") -> Any:
    """A candidate with consent, and an ordered report; gives the report and its jobs."""
    account, now = world.account(names), world.clock.now()
    store = ScreeningStore(account)
    candidate = await candidates.create(store, PERSON, new_id("cand", now), now)
    await candidates.authorize(store, candidate.id, new_id("auth", now), CONSENT, "user:hr", now)
    report = await reports.order(
        store, world.screenings, names.tenant_id, new_id("rep", now), candidate.id, package, "api", now
    )
    jobs, world.screenings.jobs, world.screenings.delays = world.screenings.jobs, [], []
    return report, jobs


async def stored(world: Any, report: Any, names: Any = CONTOSO_HR) -> Any:
    return (await ScreeningStore(world.account(names)).report(report.id)).value


async def run(world: Any, job: Any) -> None:
    await world.deliver("run_screening", msgspec.json.encode(job))


# --- run_screening ---


async def test_a_job_opens_its_tenants_account_and_runs(world: Any) -> None:
    report, (job,) = await order(world)
    await run(world, job)
    assert (await stored(world, report)).status == "complete"
    ((target, purpose),) = world.broker.leases
    assert target == CONTOSO_HR.tenant().target
    assert (purpose.actor, purpose.action, purpose.object_id) == ("service:run_screening", "screenings.run", report.id)
    assert purpose.writes
    assert is_id("req", purpose.request_id)
    assert world.screenings.jobs == []


async def test_a_job_delivered_many_times_runs_once(world: Any) -> None:
    report, (job,) = await order(world)
    engine = world.engines["watchlist"] = FakeEngine(HIT, CLEAR)
    for _ in range(3):
        await run(world, job)
    assert len(engine.subjects) == 1
    assert (await stored(world, report)).status == "paused"


@pytest.mark.parametrize(
    ("attempt", "pause"), [(1, 2), (2, 4), (3, 8), (7, 128), (8, 256), (9, 300), (10, 300), (10**9, 300)]
)
async def test_what_cannot_be_done_now_comes_again_after_a_growing_pause(world: Any, attempt: Any, pause: Any) -> None:
    report, (job,) = await order(world)
    world.broker.failures = [BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No.", retry_after=1)]
    job = msgspec.structs.replace(job, attempt=attempt)
    await run(world, job)
    assert world.screenings.jobs == [msgspec.structs.replace(job, attempt=attempt + 1)]
    assert world.screenings.delays == [pause]
    await run(world, world.screenings.jobs[0])
    assert (await stored(world, report)).status == "complete"


async def test_the_pause_is_as_long_as_azure_asks(world: Any) -> None:
    _, (job,) = await order(world)
    world.broker.failures = [CLOSED]
    await run(world, job)
    assert world.screenings.delays == [60]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("where", ["lease", "account"])
async def test_what_is_tried_again_and_what_is_not(world: Any, kind: Kind, where: Any) -> None:
    _, (job,) = await order(world)
    error = BulkheadError(kind, "some_code", "Detail.")
    if where == "lease":
        world.broker.failures = [error]
    else:
        world.account(CONTOSO_HR).failures = [error]
    if kind is Kind.NOT_FOUND and where == "account":
        await run(world, job)  # no report yet
    elif kind in (Kind.UNAVAILABLE, Kind.THROTTLED, Kind.PRECONDITION_FAILED, Kind.FORBIDDEN):
        await run(world, job)
    else:
        with pytest.raises(JobFailedError, match="some_code"):
            await run(world, job)
        assert world.screenings.jobs == []
        return
    assert [one.attempt for one in world.screenings.jobs] == [2]


async def test_a_locked_tenants_jobs_wait_for_its_unlocking(world: Any) -> None:
    report, (job,) = await order(world)
    await world.app.tenant_settings.set_status(CONTOSO_HR.tenant_id, "locked", world.clock.now())
    await run(world, job)
    assert world.broker.leases == []
    assert (await stored(world, report)).status == "pending"
    await world.app.tenant_settings.set_status(CONTOSO_HR.tenant_id, "active", world.clock.now())
    await run(world, world.screenings.jobs[0])
    assert (await stored(world, report)).status == "complete"


async def test_after_a_day_it_is_given_up(world: Any) -> None:
    _, (job,) = await order(world)
    world.clock.advance(24 * 3600)
    world.broker.failures = [CLOSED, CLOSED]
    await run(world, job)
    assert len(world.screenings.jobs) == 1
    world.clock.advance(0.001)
    with pytest.raises(JobFailedError, match="tenant_access_denied"):
        await run(world, job)
    assert len(world.screenings.jobs) == 1


async def test_a_job_waits_for_its_report_and_then_ends(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    report, (job,) = await order(world)
    await world.account(CONTOSO_HR).delete("reports", report.id, report.id)
    world.clock.advance(300)
    await run(world, job)
    assert [one.attempt for one in world.screenings.jobs] == [2]
    world.clock.advance(0.001)
    with caplog.at_level(logging.INFO):
        await run(world, world.screenings.jobs.pop())
    assert world.screenings.jobs == []
    assert [one["event"] for one in events(caplog)] == ["screening_without_report"]


async def test_a_job_of_an_unknown_tenant_fails(world: Any) -> None:
    _, (job,) = await order(world)
    with pytest.raises(JobFailedError, match="not_found"):
        await run(world, msgspec.structs.replace(job, tenant_id=TenantId(new_id("ten", world.clock.now()))))
    assert world.broker.leases == []


async def test_a_job_cannot_reach_another_tenants_report(world: Any) -> None:
    """A job's tenant decides the account; a report of another tenant is not in it."""
    report, (job,) = await order(world)
    await run(world, msgspec.structs.replace(job, tenant_id=FABRIKAM_HR.tenant_id))
    assert [target.tenant_id for target, _ in world.broker.leases] == [FABRIKAM_HR.tenant_id]
    assert (await stored(world, report)).status == "pending"


async def test_when_the_queue_takes_no_new_message_the_old_one_stays(world: Any) -> None:
    _, (job,) = await order(world)
    world.broker.failures = [CLOSED]
    world.screenings.failures = [BulkheadError(Kind.UNAVAILABLE, "queue_unavailable", "No.")]
    with pytest.raises(JobFailedError, match="queue_unavailable"):
        await run(world, job)


@pytest.mark.parametrize(
    "body", [b"", b"canary", b"{}", b'{"tenant_id":"canary"}', b"[" * 100_000, b'{"canary":1}', b"\xff"]
)
async def test_a_message_that_is_no_job_fails_without_a_word_of_it(
    world: Any, caplog: pytest.LogCaptureFixture, body: Any
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(JobFailedError) as caught:
        await world.deliver("run_screening", body)
    assert "canary" not in str(caught.value) + caplog.text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("stamp", ["canary", "2026-11-24", "2026-11-24T08:00:00", ""])
async def test_a_job_without_its_time_fails(world: Any, stamp: Any) -> None:
    _, (job,) = await order(world)
    with pytest.raises(JobFailedError) as caught:
        await run(world, msgspec.structs.replace(job, accepted_at=stamp))
    assert "canary" not in str(caught.value)


async def test_a_job_from_the_future_is_not_tried_for_ever(world: Any) -> None:
    _, (job,) = await order(world)
    world.broker.failures = [CLOSED]
    later = rfc3339(world.clock.now() + timedelta(seconds=60))
    await run(world, msgspec.structs.replace(job, accepted_at=later))  # the clock of another instance
    assert len(world.screenings.jobs) == 1
    later = rfc3339(world.clock.now() + timedelta(seconds=61))
    with pytest.raises(JobFailedError, match="ValueError"):
        await run(world, msgspec.structs.replace(job, accepted_at=later))
    assert len(world.screenings.jobs) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt": 0}, {"attempt": -(10**9)}, {"tenant_id": "canary"}, {"report_id": "canary"},
        {"report_id": "rep_" + "x" * 100_000}, {"screening_id": "canary"},
    ],
)  # fmt: skip
async def test_a_job_that_the_service_did_not_write_opens_no_account(
    world: Any, caplog: pytest.LogCaptureFixture, changes: Any
) -> None:
    """It would write what it likes into the access record, or come again without a pause."""
    _, (job,) = await order(world)
    world.broker.failures = [CLOSED]
    with caplog.at_level(logging.DEBUG), pytest.raises(JobFailedError):
        await run(world, msgspec.structs.replace(job, **changes))
    assert world.broker.leases == world.screenings.jobs == []
    assert "canary" not in caplog.text


async def test_what_is_logged_of_a_job_are_ids(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    _, (job,) = await order(world)
    with caplog.at_level(logging.DEBUG):
        await run(world, job)
    (event,) = events(caplog)
    assert event == {
        "event": "screening_run", "request_id": event["request_id"], "tenant_id": CONTOSO_HR.tenant_id,
        "report_id": job.report_id, "screening_id": job.screening_id, "attempt": 1, "fate": "done",
    }  # fmt: skip
    assert "Ferrero" not in caplog.text


# --- accept_check_request ---

KEY = rsa_key("hr")


def signing_key() -> Any:
    fields = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(KEY.public_key()))
    return SigningKey(kid="hr-1", kty="RSA", alg="RS256", n=fields["n"], e=fields["e"])


@pytest.fixture
async def candidate(world: Any) -> Any:
    """A candidate with consent, of a tenant whose HR system may order over the queue."""
    stored_tenant = await world.registry.read(CONTOSO_HR.tenant_id)
    signing = CONTOSO_HR.tenant(signing_keys=(signing_key(),))
    await world.registry.replace(signing, stored_tenant.etag)
    now, store = world.clock.now(), ScreeningStore(world.account(CONTOSO_HR))
    made = await candidates.create(store, PERSON, new_id("cand", now), now)
    await candidates.authorize(store, made.id, new_id("auth", now), CONSENT, "user:hr", now)
    return made


def message(world: Any, candidate: Any, *, key: Any = KEY, kid: str = "hr-1", **changes: Any) -> Any:
    now = int(world.clock.now().timestamp())
    claims = {
        "iss": CONTOSO, "aud": AUDIENCE, "jti": "order-1", "iat": now, "exp": now + 3600,
        "candidate_id": candidate.id, "package": "essential",
    } | changes  # fmt: skip
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm="RS256", headers={"kid": kid})


async def accept(world: Any, text: str, **properties: Any) -> None:
    await world.deliver("accept_check_request", text, **properties)


async def test_a_signed_order_makes_a_report_once_per_jti(world: Any, candidate: Any) -> None:
    text = message(world, candidate)
    for _ in range(3):
        await accept(world, text)
        world.clock.advance(10)
    (report,) = world.account(CONTOSO_HR).all("reports")
    assert (report["source"], report["candidate_id"]) == ("queue", candidate.id)
    await accept(world, message(world, candidate, jti="order-2"))
    assert len(world.account(CONTOSO_HR).all("reports")) == 2
    assert world.requests.rejected == world.requests.retried == []
    assert {purpose.actor for _, purpose in world.broker.leases} == {"message:hr-1"}


async def test_an_order_that_is_signed_anew_under_its_jti_makes_no_second_report(world: Any, candidate: Any) -> None:
    """As an HR system does that lost sight of its order."""
    await accept(world, message(world, candidate))
    world.clock.advance(23 * 3600)
    await accept(world, message(world, candidate))
    assert len(world.account(CONTOSO_HR).all("reports")) == 1
    other = message(world, candidate, package="watchlist")
    await accept(world, other)
    assert world.requests.rejected == [(other.encode(), "idempotency_key_reused")]
    assert len(world.account(CONTOSO_HR).all("reports")) == 1


async def test_the_reports_jobs_are_on_the_queue(world: Any, candidate: Any) -> None:
    text = message(world, candidate)
    await accept(world, text)
    await accept(world, text)
    for job in world.screenings.jobs:
        await run(world, job)
    (report,) = world.account(CONTOSO_HR).all("reports")
    assert report["status"] == "complete"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "other"}, "wrong_audience"),
        ({"exp": 1, "iat": 0}, "expired"),
        ({"iat": 10**11, "exp": 10**11 + 60}, "not_yet_valid"),
        ({"exp": 10**11}, "too_long_lived"),
        ({"jti": ""}, "malformed"),
        ({"iss": "e0000000-0000-4000-8000-000000000009"}, "unknown_issuer"),
        ({"iss": FABRIKAM}, "unknown_key"),
        ({"tenant": FABRIKAM_HR.tenant_id}, "unknown_tenant"),
        ({"kid": "hr-2"}, "unknown_key"),
        ({"key": rsa_key("forger")}, "bad_signature"),
        ({"candidate_id": "cand_unknown"}, "validation_failed"),
        ({"package": "unknown"}, "validation_failed"),
        ({"package": "../../candidates/docs/x"}, "validation_failed"),
    ],
)
async def test_what_is_not_accepted_is_moved_with_its_reason(
    world: Any, candidate: Any, caplog: pytest.LogCaptureFixture, changes: Any, reason: Any
) -> None:
    text = message(world, candidate, **changes)
    with caplog.at_level(logging.DEBUG):
        await accept(world, text)
    assert world.requests.rejected == [(text.encode(), reason)]
    assert world.requests.retried == world.screenings.jobs == []
    assert world.account(CONTOSO_HR).all("reports") == []
    (event,) = events(caplog)
    assert (event["event"], event["reason"]) == ("check_request_rejected", reason)
    assert candidate.id not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"", b"canary", b"\xff\xfe", b"{}", b"a.b.c",
        pytest.param(b"x" * 20_000, id="long"), pytest.param(b"\xff" * 200_000, id="no text"),
    ],
)  # fmt: skip
async def test_what_is_no_order_is_moved_as_malformed(world: Any, body: Any) -> None:
    await accept(world, body)
    ((moved, reason),) = world.requests.rejected
    assert moved == body  # as it came: as text it could become too large for the queue
    assert reason in ("malformed", "too_long")
    assert world.broker.leases == []


async def test_without_consent_the_order_is_rejected(world: Any, candidate: Any) -> None:
    (authorization,) = await ScreeningStore(world.account(CONTOSO_HR)).authorizations(candidate.id)
    store = ScreeningStore(world.account(CONTOSO_HR))
    await candidates.withdraw(store, candidate.id, authorization.id, world.clock.now())
    text = message(world, candidate)
    await accept(world, text)
    assert world.requests.rejected == [(text.encode(), "authorization_required")]


async def test_a_locked_tenants_order_is_rejected(world: Any, candidate: Any) -> None:
    await world.app.tenant_settings.set_status(CONTOSO_HR.tenant_id, "locked", world.clock.now())
    text = message(world, candidate)
    await accept(world, text)
    assert world.requests.rejected == [(text.encode(), "tenant_locked")]
    assert world.broker.leases == []


@pytest.mark.parametrize(
    ("attempt", "pause"),
    [(None, 5), (1, 5), (2, 5), (3, 8), (8, 256), (9, 300), (1000, 300), ("x", 5), (0, 5), (-3, 5)],
)
async def test_an_order_that_cannot_be_taken_now_comes_again(
    world: Any, candidate: Any, attempt: Any, pause: Any
) -> None:
    text = message(world, candidate)
    world.broker.failures = [THROTTLED]
    await accept(world, text, **({} if attempt is None else {"attempt": attempt}))
    counted = attempt if isinstance(attempt, int) and attempt > 0 else 1
    assert world.requests.retried == [(text.encode(), counted + 1, pause)]
    assert world.requests.rejected == []
    await accept(world, text)
    assert len(world.account(CONTOSO_HR).all("reports")) == 1


async def test_a_postponed_order_ends_with_its_own_life(world: Any, candidate: Any) -> None:
    text = message(world, candidate)
    world.clock.advance(3661)
    world.broker.failures = [THROTTLED]
    await accept(world, text)
    assert world.requests.rejected == [(text.encode(), "expired")]


@pytest.mark.parametrize("kind", [Kind.BROKEN, Kind.INVALID, Kind.TOO_LARGE])
async def test_what_an_operator_must_see_fails(world: Any, candidate: Any, kind: Kind) -> None:
    world.broker.failures = [BulkheadError(kind, "some_code", "Detail.")]
    with pytest.raises(JobFailedError, match="some_code"):
        await accept(world, message(world, candidate))
    assert world.requests.rejected == world.requests.retried == []


async def test_an_order_cut_off_in_the_middle_is_finished_by_its_repetition(world: Any, candidate: Any) -> None:
    text = message(world, candidate)
    world.account(CONTOSO_HR).failures = [None] * 4 + [THROTTLED]  # jobs are on the queue, the report is not written
    await accept(world, text)
    assert world.account(CONTOSO_HR).all("reports") == []
    world.clock.advance(5)
    await accept(world, text, attempt=2)
    (report,) = world.account(CONTOSO_HR).all("reports")
    for job in list(world.screenings.jobs):
        await run(world, job)
    assert (await ScreeningStore(world.account(CONTOSO_HR)).report(report["id"])).value.status == "complete"
    assert len(world.account(CONTOSO_HR).all("reports")) == 1
