"""The queue's functions: what they do with a message, and that they finish what was accepted."""

import asyncio
import json
import logging
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared.core.clock import rfc3339
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import TenantId, is_id, new_id
from shared.entrypoints.jobs import JobFailedError
from shared.screening import candidates, reports
from shared.screening.store import ScreeningStore
from tests.fakes import CONTOSO_HR, FABRIKAM_HR
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


async def test_when_the_queue_takes_no_new_message_the_old_one_is_given_back_after_a_while(world: Any) -> None:
    """An abandoned message comes again at once, and the tenth time it is dead-lettered: that must take minutes."""
    _, (job,) = await order(world)
    world.broker.failures = [CLOSED]
    world.screenings.failures = [BulkheadError(Kind.UNAVAILABLE, "queue_unavailable", "No.")]
    begun = asyncio.get_running_loop().time()
    with pytest.raises(JobFailedError, match="queue_unavailable"):
        await run(world, job)
    assert asyncio.get_running_loop().time() - begun >= 60


async def test_what_fails_otherwise_is_given_back_at_once(world: Any) -> None:
    """It would be kept in vain, and its session with it."""
    _, (job,) = await order(world)
    world.broker.failures = [BulkheadError(Kind.BROKEN, "account_refused", "No.")]
    begun = asyncio.get_running_loop().time()
    with pytest.raises(JobFailedError, match="account_refused"):
        await run(world, job)
    assert asyncio.get_running_loop().time() - begun < 1


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
