"""HTTP: candidates and their authorizations."""

import azure.functions as func

from shared.core.ids import new_id
from shared.core.policy import Action
from shared.entrypoints import idempotency, paging
from shared.entrypoints.idempotency import Answer
from shared.entrypoints.serving import NO_CONTENT, Api, TenantCall, answer
from shared.screening import candidates
from shared.screening.models import (
    Authorization,
    AuthorizationData,
    CandidateData,
    CandidateId,
    CandidatePatch,
    CandidateView,
    candidate_view,
)
from shared.screening.store import ScreeningStore

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
api = Api(blueprint)


@api.tenant(
    "POST", "candidates", Action.CANDIDATES_WRITE,
    body=CandidateData, result=CandidateView, status=201, headers=("Location",),
)  # fmt: skip
async def create_candidate(call: TenantCall) -> Answer:
    """Create a candidate."""
    data = call.body(CandidateData)
    new = new_id("cand", call.now)
    async with call.account(new, writes=True) as account:

        async def work(candidate_id: str) -> Answer:
            made = await candidates.create(ScreeningStore(account), data, CandidateId(candidate_id), call.now)
            return answer(candidate_view(made), 201, location=f"/api/candidates/{made.id}")

        return await call.once(account, new, work)


@api.tenant("GET", "candidates", Action.CANDIDATES_READ, result=list[CandidateView], query=("limit", "cursor"))
async def list_candidates(call: TenantCall) -> Answer:
    """List candidates, newest first."""
    position = paging.position(call.params, call.tenant.id, "candidates")
    async with call.account("candidates", writes=False) as account:
        found = await ScreeningStore(account).candidates(position.after, position.limit + 1)
    return answer(position.page(found, [candidate_view(one) for one in found]))


@api.tenant("GET", "candidates/{candidate_id}", Action.CANDIDATES_READ, result=CandidateView, headers=("ETag",))
async def get_candidate(call: TenantCall) -> Answer:
    """Show a candidate."""
    candidate_id = call.path("candidate_id")
    async with call.account(candidate_id, writes=False) as account:
        found = await ScreeningStore(account).candidate(candidate_id)
    return answer(candidate_view(found.value), etag=found.etag)


@api.tenant(
    "PATCH", "candidates/{candidate_id}", Action.CANDIDATES_WRITE,
    body=CandidatePatch, result=CandidateView, headers=("ETag",),
)  # fmt: skip
async def patch_candidate(call: TenantCall) -> Answer:
    """Change a candidate; needs If-Match."""
    candidate_id, etag, change = call.path("candidate_id"), call.if_match(), call.body(CandidatePatch)
    async with call.account(candidate_id, writes=True) as account:
        changed = await candidates.patch(ScreeningStore(account), candidate_id, change, etag, call.now)
    return answer(candidate_view(changed.value), etag=changed.etag)


@api.tenant("DELETE", "candidates/{candidate_id}", Action.CANDIDATES_WRITE, status=204)
async def delete_candidate(call: TenantCall) -> Answer:
    """Erase a candidate's personal data and cancel what is pending."""
    candidate_id = call.path("candidate_id")
    async with call.account(candidate_id, writes=True) as account:
        await idempotency.forget(account, candidate_id)  # first: once the candidate is gone, this is not done again
        await candidates.erase(ScreeningStore(account), candidate_id, call.now)
    return NO_CONTENT


@api.tenant(
    "POST", "candidates/{candidate_id}/authorizations", Action.AUTHORIZATIONS_WRITE,
    body=AuthorizationData, result=Authorization, status=201, headers=("Location",),
)  # fmt: skip
async def create_authorization(call: TenantCall) -> Answer:
    """Record a candidate's disclosure and signed authorization."""
    candidate_id, data = call.path("candidate_id"), call.body(AuthorizationData)
    new = new_id("auth", call.now)
    async with call.account(candidate_id, writes=True) as account:

        async def work(authorization_id: str) -> Answer:
            made = await candidates.authorize(
                ScreeningStore(account), candidate_id, authorization_id, data, call.caller.actor, call.now
            )
            return answer(made, 201, location=f"/api/candidates/{candidate_id}/authorizations/{made.id}")

        return await call.once(account, new, work)


@api.tenant(
    "DELETE", "candidates/{candidate_id}/authorizations/{authorization_id}", Action.AUTHORIZATIONS_WRITE, status=204
)
async def withdraw_authorization(call: TenantCall) -> Answer:
    """Withdraw an authorization and cancel what is pending under it."""
    candidate_id, authorization_id = call.path("candidate_id"), call.path("authorization_id")
    async with call.account(candidate_id, writes=True) as account:
        await candidates.withdraw(ScreeningStore(account), candidate_id, authorization_id, call.now)
    return NO_CONTENT
