"""Registering tenants, and changing who opens them. Of the control plane: it reads managed applications itself."""

import msgspec

from shared.access.broker import Broker
from shared.access.failures import AccessError, Failure
from shared.access.models import CredentialName, Daemon, Target
from shared.core.caller import Caller, ClientId
from shared.core.clock import Clock, rfc3339
from shared.core.errors import BulkheadError, FieldError, not_valid
from shared.core.ids import DirectoryId, RequestId, TenantId
from shared.core.lease import Purpose
from shared.tenants.models import CredentialChoice, DaemonChange, Registration, Tenant
from shared.tenants.ports import Applications
from shared.tenants.registry import Registry, Stored, already_registered


class LifeCycle:
    """How tenants come to be. All methods raise BulkheadError."""

    def __init__(
        self,
        registry: Registry,
        applications: Applications,
        broker: Broker,
        clock: Clock,
        *,
        publisher_directory_id: DirectoryId,
        vault: str,
        federated: bool,
    ) -> None:
        """`vault` is where credentials lie that name none; `federated` allows daemons that trust our identity."""
        self._registry = registry
        self._applications = applications
        self._broker = broker
        self._clock = clock
        self._publisher = publisher_directory_id
        self._vault = vault
        self._federated = federated

    async def register(
        self, tenant_id: TenantId, wanted: Registration, caller: Caller, request_id: RequestId
    ) -> Stored:
        """Register, as `tenant_id`, a tenant whose daemon an operator made by hand; the same id again gives it.

        Directory and account are read back from Resource Manager, never taken from the request. The whole chain is
        walked once before the tenant is stored, so that what is registered works.
        """
        credential = self._credential(wanted)
        application_id = "/" + wanted.application_id.strip("/").lower()
        for there in await self._registry.page(application_id, None, 1):
            if there.id != tenant_id:
                raise already_registered()
            return await self._registry.read(tenant_id)
        application = await self._applications.describe(application_id)
        now = self._clock.now()
        tenant = Tenant(
            id=tenant_id,
            name=wanted.name,
            directory_id=application.directory_id,
            application_id=application_id,
            account=application.account,
            daemon=Daemon(
                directory_id=self._publisher,
                client_id=ClientId(wanted.daemon_client_id.lower()),
                credential=credential,
            ),
            status="active",
            created_at=rfc3339(now),
            updated_at=rfc3339(now),
        )
        purpose = Purpose(caller.actor, "tenants.register", tenant.id, request_id, writes=True)
        await self._walk(tenant.target, purpose, watched=False)
        return await self._registry.add(tenant)

    async def change_daemon(
        self, tenant_id: TenantId, wanted: DaemonChange, etag: str, caller: Caller, request_id: RequestId
    ) -> Stored:
        """Let the tenant be opened by another credential or daemon, in the state that `etag` names, `*` for any.

        The whole chain is walked with it before it is stored, and so the tenant's own access log tells of the change.
        Every process follows as soon as its registry entry is read anew.
        """
        stored = await self._registry.read(tenant_id)
        tenant = stored.tenant
        client_id = ClientId((wanted.daemon_client_id or tenant.daemon.client_id).lower())
        daemon = Daemon(directory_id=self._publisher, client_id=client_id, credential=self._credential(wanted))
        changed = msgspec.structs.replace(tenant, daemon=daemon, updated_at=rfc3339(self._clock.now()))
        purpose = Purpose(caller.actor, "tenants.write", tenant.id, request_id, writes=True)
        await self._walk(changed.target, purpose, watched=True)
        return await self._registry.replace(changed, stored.etag if etag == "*" else etag)

    async def _walk(self, target: Target, purpose: Purpose, *, watched: bool) -> None:
        """Open the account once. What the request itself got wrong is told as that."""
        try:
            async with self._broker.lease(target, purpose, watched=watched):
                pass  # the access record is written: every step works
        except BulkheadError as error:
            cause = error.__cause__
            if isinstance(cause, AccessError) and (cause.step, cause.failure) == (1, Failure.NOT_FOUND):
                raise not_valid(FieldError("/credential_name", "The vault has no such credential.")) from error
            raise

    def _credential(self, wanted: CredentialChoice) -> CredentialName:
        if wanted.credential == "federated":
            if not self._federated:
                raise not_valid(FieldError("/credential", "Federated daemons are not allowed in this deployment."))
            return CredentialName(kind="federated")
        if wanted.credential_name is None:
            raise not_valid(FieldError("/credential_name", "This field is required."))
        vault = (wanted.vault or self._vault).rstrip("/")
        return CredentialName(kind=wanted.credential, vault=vault, name=wanted.credential_name)
