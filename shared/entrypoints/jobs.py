"""Service Bus: the screenings to run, and the orders that tenants' own systems sign.

A function in Python cannot settle a message by a supported way: returning completes it, raising abandons it. So what
cannot be done now is put on the queue again for later and this message completed; nothing is lost in between,
because the new message is there before the old one goes. While the queues take no new message, the old one is held for
a while before it is abandoned: it comes again at once, and after ten deliveries it waits for a person.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import azure.functions as func
import msgspec

from shared import telemetry
from shared.bootstrap import App, app
from shared.core.caller import ServiceCaller
from shared.core.context import REQUEST_ID
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import RequestId, TenantId, derived_id, new_id
from shared.core.lease import Purpose
from shared.entrypoints import idempotency
from shared.screening import reports
from shared.screening.jobs import Fate, run_screening
from shared.screening.models import ReportId, ScreeningJob
from shared.screening.ports import CHECK_REQUESTS, QUEUE_UNAVAILABLE, SCREENINGS
from shared.screening.store import ScreeningStore
from shared.settings import SERVICE_BUS
from shared.tenants import signed_requests
from shared.tenants.models import Tenant
from shared.tenants.registry import RENEWED_EVERY
from shared.tenants.signed_requests import RejectedRequestError, SignedRequest

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]

_UNWRITTEN_AFTER = 300.0  # seconds: host.json ends every function after 230, so the report will not come any more
_SKEW = 60.0  # seconds by which the clocks of two instances may differ
_GIVE_UP_AFTER = 24 * 3600.0  # seconds for which a job is tried again while a tenant's account does not open
_ORDERS = "queued orders"  # whose `jti` is claimed: no other scope of keys
_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 300.0
_HELD = 60.0  # seconds for which a message is held that cannot be put off; ten deliveries outlast ten minutes
_RETRIED = (Kind.UNAVAILABLE, Kind.THROTTLED, Kind.PRECONDITION_FAILED)


@blueprint.function_name("run_screening")
@blueprint.service_bus_queue_trigger("message", connection=SERVICE_BUS, queue_name=SCREENINGS, is_sessions_enabled=True)
async def run_screening_job(message: func.ServiceBusMessage) -> None:
    """Run one screening."""
    await _served("run_screening", lambda application, request_id: _screen(application, request_id, message))


@blueprint.function_name("accept_check_request")
@blueprint.service_bus_queue_trigger("message", connection=SERVICE_BUS, queue_name=CHECK_REQUESTS)
async def accept_check_request(message: func.ServiceBusMessage) -> None:
    """Order the check that a tenant's own system asks for."""
    await _served("accept_check_request", lambda application, request_id: _order(application, request_id, message))


async def _served(function: str, work: Callable[[App, RequestId], Awaitable[None]]) -> None:
    application = app()
    request_id = RequestId(new_id("req", application.clock.now()))
    REQUEST_ID.set(request_id)
    try:
        await work(application, request_id)
    except BulkheadError as error:
        telemetry.event("job_failed", function=function, request_id=request_id, code=error.code)
        if error.code == QUEUE_UNAVAILABLE:
            await asyncio.sleep(_HELD)
        # The host logs what a function raises, so what is raised has a text of ours.
        raise JobFailedError(error.code) from None
    except Exception as error:  # noqa: BLE001 - likewise: an unexpected error's text may quote the message
        telemetry.failure("job_failed", error, function=function, request_id=request_id)
        raise JobFailedError(type(error).__name__) from None


class JobFailedError(Exception):
    """The job cannot be done; its message is abandoned and in the end dead-lettered."""


async def _screen(application: App, request_id: RequestId, message: func.ServiceBusMessage) -> None:
    job = msgspec.json.decode(message.get_body(), type=ScreeningJob)
    now = application.clock.now()
    age = (now - datetime.fromisoformat(job.accepted_at)).total_seconds()
    if age < -_SKEW:  # not ours: it would be tried again for as long as it pleases whoever wrote it
        raise ValueError("accepted in the future")
    seen: dict[str, Any] = {
        "request_id": request_id, "tenant_id": job.tenant_id, "report_id": job.report_id,
        "screening_id": job.screening_id, "attempt": job.attempt,
    }  # fmt: skip
    pause = _pause(job.attempt)
    try:
        tenant = await application.registry.get(TenantId(job.tenant_id))
        purpose = Purpose(
            ServiceCaller("run_screening").actor, "screenings.run", job.report_id, request_id, writes=True
        )
        async with application.broker.lease(tenant.target, purpose) as account:
            fate = await run_screening(
                ScreeningStore(account), application.engines, job.report_id, job.screening_id, now
            )
        if fate is Fate.NOT_WRITTEN and age > _UNWRITTEN_AFTER:
            telemetry.event("screening_without_report", **seen)
            return
    except BulkheadError as error:
        if error.kind not in (*_RETRIED, Kind.FORBIDDEN) or age > _GIVE_UP_AFTER:  # forbidden: locked for a while
            raise
        telemetry.event("screening_postponed", code=error.code, **seen)
        pause = max(pause, error.retry_after or 0.0)
        fate = Fate.NOT_WRITTEN
    if fate is Fate.NOT_WRITTEN:
        await application.screenings.enqueue([msgspec.structs.replace(job, attempt=job.attempt + 1)], pause)
    else:
        telemetry.event("screening_run", fate=fate, **seen)


async def _order(application: App, request_id: RequestId, message: func.ServiceBusMessage) -> None:
    body, attempt = message.get_body(), _attempt(message)
    try:
        request = await _verified(application, body.decode("ascii", errors="replace"), attempt)
        report_id = await _ordered(application, request_id, request)
    except _UnsureError as error:
        await _postpone(application, request_id, message, error.reason)
    except RejectedRequestError as error:
        telemetry.event("check_request_rejected", request_id=request_id, reason=error.reason)
        await application.check_requests.reject(body, error.reason)
    except BulkheadError as error:
        if error.kind in _RETRIED:
            await _postpone(application, request_id, message, error.code, error.retry_after or 0.0)
        elif error.kind in (Kind.UNPROCESSABLE, Kind.CONFLICT, Kind.NOT_FOUND, Kind.FORBIDDEN):
            telemetry.event("check_request_rejected", request_id=request_id, reason=error.code)
            await application.check_requests.reject(body, error.code)
        else:
            raise
    else:
        telemetry.event(
            "check_request_accepted", request_id=request_id, tenant_id=request.tenant_id, report_id=report_id
        )


async def _postpone(
    application: App, request_id: RequestId, message: func.ServiceBusMessage, code: str, at_least: float = 0.0
) -> None:
    attempt = _attempt(message)
    telemetry.event("check_request_postponed", request_id=request_id, code=code, attempt=attempt)
    await application.check_requests.retry(message.get_body(), attempt + 1, max(_pause(attempt), at_least))


class _UnsureError(Exception):
    """The registry, as it was before the message came, does not allow the order, and was read anew just before."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def _verified(application: App, text: str, attempt: int) -> SignedRequest:
    """The order, verified. Raises RejectedRequestError, or _UnsureError.

    A rejection is final. So it rests on nothing older than the message: another process may have registered its key,
    or its tenant, a moment ago.
    """
    directory_id = signed_requests.issuer(text)
    # A message that was postponed waited longer than that, whatever the clocks of the queue and of this host show.
    since = application.clock.monotonic() - (RENEWED_EVERY if attempt > 1 else 0.0)

    def verify(tenants: tuple[Tenant, ...]) -> SignedRequest:
        return signed_requests.verify(text, tenants, application.settings.api_audience, application.clock.now())

    try:
        return verify(await application.registry.of_directory(directory_id))
    except RejectedRequestError as error:
        if error.reason not in signed_requests.OF_THE_REGISTRY:
            raise
    tenants, sure = await application.registry.renewed(directory_id, since)
    try:
        return verify(tenants)
    except RejectedRequestError as error:
        if sure:
            raise
        raise _UnsureError(error.reason) from error


async def _ordered(application: App, request_id: RequestId, request: SignedRequest) -> ReportId:
    """Order the check. The message's `jti` claims its report's id, so that it is made once, however often signed."""
    tenant = await application.registry.get(request.tenant_id)
    issued = datetime.fromtimestamp(request.issued_at, UTC)
    derived = derived_id("rep", issued, tenant.id, request.jti)
    content = f"{request.candidate_id}\n{request.package}".encode()
    purpose = Purpose(request.caller.actor, "reports.write", derived, request_id, writes=True)
    async with application.broker.lease(tenant.target, purpose) as account:
        report_id = ReportId(await idempotency.claim(account, _ORDERS, request.jti, content, derived))
        await reports.order(
            ScreeningStore(account), application.screenings, tenant.id, report_id,
            request.candidate_id, request.package, "queue", application.clock.now(),
        )  # fmt: skip
    return report_id


def _pause(attempt: int) -> float:
    """Seconds after which what could not be done in this attempt is tried again."""
    return min(_FIRST_PAUSE * 2.0 ** min(attempt - 1, 10), _LONGEST_PAUSE)


def _attempt(message: func.ServiceBusMessage) -> int:
    value = (message.application_properties or {}).get("attempt", 1)
    return value if isinstance(value, int) and value > 0 else 1
