"""HTTP: packages, reports and their screenings."""

import azure.functions as func

from shared.core.clock import rfc3339
from shared.core.errors import BulkheadError, Kind, not_found
from shared.core.ids import new_id
from shared.core.policy import Action
from shared.entrypoints import paging
from shared.entrypoints.idempotency import Answer
from shared.entrypoints.reading import allowed_values
from shared.entrypoints.serving import Api, TenantCall, answer
from shared.screening import packages, reports
from shared.screening.models import (
    Package,
    PackageData,
    Report,
    ReportId,
    ReportOrder,
    ReportStatus,
    ReviewDecision,
    is_slug,
)
from shared.screening.store import ScreeningStore

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
api = Api(blueprint)

_SOON = "2"  # seconds after which a look at a new report is worth it


@api.tenant("GET", "packages", Action.PACKAGES_READ, result=list[Package], query=("limit", "cursor"))
async def list_packages(call: TenantCall) -> Answer:
    """List the packages that reports can be ordered by, by slug."""
    position = paging.position(call.params, call.tenant.id, "packages")
    async with call.account("packages", writes=False) as account:
        found = await ScreeningStore(account).packages(position.after, position.limit + 1)
    return answer(position.page(found, found))


@api.tenant("GET", "packages/{slug}", Action.PACKAGES_READ, result=Package, headers=("ETag",))
async def get_package(call: TenantCall) -> Answer:
    """Show a package."""
    slug = call.path("slug")
    if not is_slug(slug):  # it is not put on record either
        raise not_found("package")
    async with call.account(slug, writes=False) as account:
        found = await ScreeningStore(account).package(slug)
    headers = {"etag": found.etag} if found.etag else {}  # a built-in package has no stored state
    return answer(found.value, 200, **headers)


@api.tenant(
    "PUT", "packages/{slug}", Action.PACKAGES_WRITE,
    body=PackageData, result=Package, status=(201, 200), headers=("ETag",),
)  # fmt: skip
async def put_package(call: TenantCall) -> Answer:
    """Create (If-Match: *) or replace a package."""
    slug, etag, data = call.path("slug"), call.if_match(), call.body(PackageData)
    package = packages.define(slug, data, rfc3339(call.now))
    async with call.account(slug, writes=True) as account:
        stored = await ScreeningStore(account).put_package(package, None if etag == "*" else etag)
    return answer(stored.value, 201 if etag == "*" else 200, etag=stored.etag)


@api.tenant(
    "POST", "reports", Action.REPORTS_WRITE,
    body=ReportOrder, result=Report, status=202, headers=("Location", "Retry-After"),
)  # fmt: skip
async def create_report(call: TenantCall) -> Answer:
    """Order a background check."""
    wanted = call.body(ReportOrder)
    new = new_id("rep", call.now)
    async with call.account(new, writes=True) as account:

        async def work(report_id: str) -> Answer:
            made = await reports.order(
                ScreeningStore(account), call.app.screenings, call.tenant.id, ReportId(report_id),
                wanted.candidate_id, wanted.package, "api", call.now,
            )  # fmt: skip
            return answer(made, 202, location=f"/api/reports/{made.id}", retry_after=_SOON)

        return await call.once(account, new, work)


@api.tenant(
    "GET", "reports", Action.REPORTS_READ, result=list[Report], query=("status", "candidate_id", "limit", "cursor")
)
async def list_reports(call: TenantCall) -> Answer:
    """List reports, newest first."""
    status, candidate_id = call.params.get("status"), call.params.get("candidate_id")
    if status is not None and status not in allowed_values(ReportStatus):
        raise BulkheadError(
            Kind.INVALID, "invalid_status", f"status is one of {', '.join(allowed_values(ReportStatus))}."
        )
    position = paging.position(call.params, call.tenant.id, "reports", status or "", candidate_id or "")
    async with call.account("reports", writes=False) as account:
        found = await ScreeningStore(account).reports(
            status=status, candidate_id=candidate_id, after=position.after, limit=position.limit + 1
        )
    return answer(position.page(found, found))


@api.tenant("GET", "reports/{report_id}", Action.REPORTS_READ, result=Report, headers=("ETag",))
async def get_report(call: TenantCall) -> Answer:
    """Show a report with its screenings."""
    report_id = call.path("report_id")
    async with call.account(report_id, writes=False) as account:
        found = await ScreeningStore(account).report(report_id)
    return answer(found.value, etag=found.etag)


@api.tenant("POST", "reports/{report_id}/cancel", Action.REPORTS_WRITE, result=Report, headers=("ETag",))
async def cancel_report(call: TenantCall) -> Answer:
    """Cancel the screenings of a report that are not complete."""
    report_id = call.path("report_id")
    async with call.account(report_id, writes=True) as account:

        async def work(begun_by: str) -> Answer:
            again = begun_by != call.request_id
            canceled = await reports.cancel(ScreeningStore(account), report_id, call.now, again=again)
            return answer(canceled.value, etag=canceled.etag)

        return await call.once(account, call.request_id, work)


@api.tenant(
    "POST", "reports/{report_id}/screenings/{screening_id}/review", Action.SCREENINGS_REVIEW,
    body=ReviewDecision, result=Report, headers=("ETag",),
)  # fmt: skip
async def review_screening(call: TenantCall) -> Answer:
    """Confirm or dismiss a potential match."""
    report_id, screening_id, decision = call.path("report_id"), call.path("screening_id"), call.body(ReviewDecision)
    async with call.account(report_id, writes=True) as account:

        async def work(begun_by: str) -> Answer:
            again = begun_by != call.request_id
            reviewed = await reports.review(
                ScreeningStore(account), report_id, screening_id, decision, call.caller.actor, call.now, again=again
            )
            return answer(reviewed.value, etag=reviewed.etag)

        return await call.once(account, call.request_id, work)
