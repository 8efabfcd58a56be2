"""The access record: written to the tenant's own account before a key is used for anything else."""

from datetime import datetime

import msgspec

from shared.core.clock import rfc3339
from shared.core.ids import LeaseId, TenantId
from shared.core.lease import KeyKind, Purpose


class AccessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who reached the tenant's data, when, by what right and why. Pseudonymous ids only."""

    id: str
    month: str  # the partition, such as 2026-11
    time: str
    tenant_id: TenantId
    lease_id: LeaseId
    actor: str
    action: str
    object_id: str
    request_id: str
    daemon_client_id: str
    key_kind: KeyKind
    key_fingerprint: str


def access_record(
    record_id: str,
    moment: datetime,
    tenant_id: TenantId,
    lease_id: LeaseId,
    purpose: Purpose,
    daemon_client_id: str,
    key_kind: KeyKind,
    key_fingerprint: str,
) -> AccessRecord:
    """The record of one disclosure of a key."""
    return AccessRecord(
        id=record_id,
        month=moment.strftime("%Y-%m"),
        time=rfc3339(moment),
        tenant_id=tenant_id,
        lease_id=lease_id,
        actor=purpose.actor,
        action=purpose.action,
        object_id=purpose.object_id,
        request_id=purpose.request_id,
        daemon_client_id=daemon_client_id,
        key_kind=key_kind,
        key_fingerprint=key_fingerprint,
    )
