"""HTTP: the tenant's own settings and access log, and the publisher's work on tenants."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import azure.functions as func

from shared import telemetry
from shared.access.log import AccessLog
from shared.core.audit import AccessRecord
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import TenantId, new_id
from shared.core.policy import Action
from shared.entrypoints import paging
from shared.entrypoints.idempotency import Answer
from shared.entrypoints.serving import Api, Call, TenantCall, answer
from shared.tenants.life_cycle import LifeCycle
from shared.tenants.models import DaemonChange, KeySet, Registration, TenantPatch, TenantStatus, TenantView, view
from shared.tenants.registry import Stored

tenant_blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
publisher_blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
tenant_api = Api(tenant_blueprint)
publisher_api = Api(publisher_blueprint)


@tenant_api.tenant("GET", "access_log", Action.ACCESS_LOG_READ, result=list[AccessRecord], query=("limit", "cursor"))
async def list_access_log(call: TenantCall) -> Answer:
    """List every disclosure of a key to this tenant's data, newest first."""
    position = paging.position(call.params, call.tenant.id, "access_log")
    since = datetime.fromisoformat(call.tenant.created_at)
    async with call.account("access_log", writes=False) as account:
        found = await AccessLog(account).newest_first(position.after, position.limit + 1, since, call.now)
    return answer(position.page(found, found))


@tenant_api.tenant("GET", "tenant", Action.TENANT_READ, result=TenantView, headers=("ETag",))
async def get_own_tenant(call: TenantCall) -> Answer:
    """Show the tenant's own settings."""
    return _shown(await call.app.registry.read(call.tenant.id))


@tenant_api.tenant("PATCH", "tenant", Action.TENANT_WRITE, body=TenantPatch, result=TenantView, headers=("ETag",))
async def patch_own_tenant(call: TenantCall) -> Answer:
    """Change the tenant's own settings; needs If-Match."""
    etag, change = call.if_match(), call.body(TenantPatch)
    return _changed(
        call, "patch_settings", await call.app.tenant_settings.patch(call.tenant.id, change, etag, call.now)
    )


@tenant_api.tenant("PUT", "tenant/signing_keys", Action.TENANT_WRITE, body=KeySet, result=TenantView, headers=("ETag",))
async def put_signing_keys(call: TenantCall) -> Answer:
    """Replace the keys (a JWKS) with which the tenant signs queue messages; If-Match: * replaces whatever is there."""
    etag, keys = call.if_match(), call.body(KeySet)
    return _changed(
        call,
        "set_signing_keys",
        await call.app.tenant_settings.set_signing_keys(call.tenant.id, keys, None if etag == "*" else etag, call.now),
    )


@tenant_api.tenant("POST", "tenant/lock", Action.TENANT_WRITE, result=TenantView, headers=("ETag",), once=False)
async def lock_own_tenant(call: TenantCall) -> Answer:
    """Lock the tenant: an emergency brake that only the publisher's staff can release."""
    return _changed(call, "lock", await call.app.tenant_settings.set_status(call.tenant.id, "locked", call.now))


@publisher_api.publisher(
    "GET", "tenants", Action.TENANTS_READ, result=list[TenantView], query=("application_id", "limit", "cursor")
)
async def list_tenants(call: Call) -> Answer:
    """List tenants; `application_id` finds the one of a managed application."""
    wanted = call.params.get("application_id")
    application_id = "/" + wanted.strip("/").lower() if wanted else None
    position = paging.position(call.params, "tenants", application_id or "")
    found = await call.app.registry.page(application_id, position.after, position.limit + 1)
    return answer(position.page(found, [view(tenant) for tenant in found]))


@publisher_api.publisher(
    "POST", "tenants", Action.TENANTS_WRITE,
    body=Registration, result=TenantView, status=201, headers=("Location", "ETag"),
)  # fmt: skip
async def register_tenant(call: Call) -> Answer:
    """Register a tenant whose daemon application was made by hand."""
    wanted, new = call.body(Registration), new_id("ten", call.now)

    async def work(tenant_id: str) -> Answer:
        stored = await _life_cycle(call).register(TenantId(tenant_id), wanted, call.caller, call.request_id)
        _note(call, "register", stored)
        return answer(view(stored.tenant), 201, etag=stored.etag, location=f"/api/tenants/{stored.tenant.id}")

    return await _once(call, new, work)


@publisher_api.publisher("GET", "tenants/{tenant_id}", Action.TENANTS_READ, result=TenantView, headers=("ETag",))
async def get_tenant(call: Call) -> Answer:
    """Show a tenant."""
    return _shown(await call.app.registry.read(TenantId(call.path("tenant_id"))))


@publisher_api.publisher(
    "PATCH", "tenants/{tenant_id}", Action.TENANTS_WRITE, body=DaemonChange, result=TenantView, headers=("ETag",)
)
async def change_daemon(call: Call) -> Answer:
    """Let a tenant be opened by another credential or daemon; needs If-Match."""
    tenant_id, etag, wanted = TenantId(call.path("tenant_id")), call.if_match(), call.body(DaemonChange)
    stored = await _life_cycle(call).change_daemon(tenant_id, wanted, etag, call.caller, call.request_id)
    return _changed(call, "change_daemon", stored)


@publisher_api.publisher("POST", "tenants/{tenant_id}/lock", Action.TENANTS_WRITE, result=TenantView, headers=("ETag",))
async def lock_tenant(call: Call) -> Answer:
    """Lock a tenant: nothing reaches its account until it is unlocked."""
    return await _set_status(call, "lock", "locked")


@publisher_api.publisher(
    "POST", "tenants/{tenant_id}/unlock", Action.TENANTS_WRITE, result=TenantView, headers=("ETag",)
)
async def unlock_tenant(call: Call) -> Answer:
    """Unlock a tenant."""
    return await _set_status(call, "unlock", "active")


async def _set_status(call: Call, action: str, status: TenantStatus) -> Answer:
    tenant_id = TenantId(call.path("tenant_id"))

    async def work(_: str) -> Answer:
        return _changed(call, action, await call.app.tenant_settings.set_status(tenant_id, status, call.now))

    return await _once(call, call.request_id, work)


async def _once(call: Call, own_id: str, work: Callable[[str], Awaitable[Answer]]) -> Answer:
    """See Call.once: the keys of one operator, kept in the registry's account."""
    return await call.once(call.app.registry_documents, own_id, work, keys_of=call.caller.actor)


def _life_cycle(call: Call) -> LifeCycle:
    if call.app.life_cycle is None:
        raise BulkheadError(Kind.BROKEN, "not_on_this_plane", "This deployment does not register tenants.")
    return call.app.life_cycle


def _shown(stored: Stored) -> Answer:
    return answer(view(stored.tenant), etag=stored.etag)


def _changed(call: Call, action: str, stored: Stored) -> Answer:
    """The changed tenant, once it is noted who changed it."""
    _note(call, action, stored)
    return _shown(stored)


def _note(call: Call, action: str, stored: Stored) -> None:
    telemetry.event(
        "tenant_changed", request_id=call.request_id, tenant_id=stored.tenant.id, actor=call.caller.actor, action=action
    )
