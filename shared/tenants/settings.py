"""What changes of a registered tenant: its lock, its own settings, its signing keys."""

from datetime import datetime

import msgspec

from shared.core.caller import ClientId
from shared.core.clock import rfc3339
from shared.core.errors import BulkheadError, FieldError, Kind, not_valid
from shared.core.ids import TenantId
from shared.tenants.models import KeySet, TenantPatch, TenantStatus
from shared.tenants.registry import Registry, Stored
from shared.tenants.signed_requests import public_key

_ATTEMPTS = 8  # of changing an entry that others change at the same time


class TenantSettings:
    """Changes entries of the registry. All methods raise BulkheadError."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def set_status(self, tenant_id: TenantId, status: TenantStatus, now: datetime) -> Stored:
        """Lock or unlock a tenant. The same status again changes nothing."""
        return await self._change(tenant_id, now, status=status)

    async def patch(self, tenant_id: TenantId, patch: TenantPatch, etag: str, now: datetime) -> Stored:
        """Change the tenant's own settings in the state that `etag` names, `*` for whatever there is."""
        changes: dict[str, object] = {}
        if patch.allowed_client_ids is not msgspec.UNSET:
            changes["allowed_client_ids"] = tuple(ClientId(client.lower()) for client in patch.allowed_client_ids)
        if etag == "*":
            return await self._change(tenant_id, now, **changes)
        stored = await self._registry.read(tenant_id)
        return await self._replace(Stored(stored.tenant, etag), now, **changes)

    async def set_signing_keys(self, tenant_id: TenantId, keys: KeySet, etag: str | None, now: datetime) -> Stored:
        """Replace the keys with which the tenant signs queue messages. `etag` None replaces whatever is there."""
        faults = []
        for number, key in enumerate(keys.keys):
            try:
                public_key(key)
            except ValueError:
                faults.append(FieldError(f"/keys/{number}", f"This is no {key.alg} public key."))
        if len({key.kid for key in keys.keys}) < len(keys.keys):
            faults.append(FieldError("/keys", "Each key needs a kid of its own."))
        if faults:
            raise not_valid(*faults)
        if etag is None:
            return await self._change(tenant_id, now, signing_keys=keys.keys)
        stored = await self._registry.read(tenant_id)
        return await self._replace(Stored(stored.tenant, etag), now, signing_keys=keys.keys)

    async def _change(self, tenant_id: TenantId, now: datetime, **changes: object) -> Stored:
        """Change whatever state there is, again when another change came first: a brake must not fail for that."""
        for _ in range(_ATTEMPTS):
            stored = await self._registry.read(tenant_id)
            if all(getattr(stored.tenant, name) == value for name, value in changes.items()):
                return stored
            try:
                return await self._replace(stored, now, **changes)
            except BulkheadError as error:
                if error.kind is not Kind.PRECONDITION_FAILED:
                    raise
        raise BulkheadError(Kind.UNAVAILABLE, "busy", "The tenant is being changed by others.", retry_after=1)

    async def _replace(self, stored: Stored, now: datetime, **changes: object) -> Stored:
        changed = msgspec.structs.replace(stored.tenant, updated_at=rfc3339(now), **changes)
        return await self._registry.replace(changed, stored.etag)
