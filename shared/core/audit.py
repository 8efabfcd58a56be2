"""Access records: written to the tenant's own account before a key is used for anything else.

Each writer (one process, for one tenant) chains its records: a record holds the hash of the one before and its own
number, and the writer's head says which record is the last. A record that is changed, removed or put in between
breaks the chain; a chain that is cut at its end differs from its head, and from the anchor that the publisher keeps.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from shared.core.clock import rfc3339
from shared.core.ids import LeaseId, TenantId
from shared.core.lease import KeyKind, Purpose

type KeySource = Literal["retrieved", "shared", "retained_token", "retained_key"]
"""How the lease came to its key: by all steps, from an invocation under way, or by what a budget forced to be kept."""

START = "0" * 64
"""What the first record of a chain has in place of the hash before it."""


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """One key, given to one invocation for one purpose. Pseudonymous ids only."""

    id: str
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
    key_source: KeySource


class AccessRecord(Disclosure, frozen=True, kw_only=True):
    """A disclosure in its writer's chain, as it is stored."""

    writer: str
    number: int  # from 1
    previous_hash: str
    hash: str


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The last record of a writer's chain."""

    writer: str
    number: int
    hash: str


def disclosure(
    record_id: str,
    moment: datetime,
    tenant_id: TenantId,
    lease_id: LeaseId,
    purpose: Purpose,
    daemon_client_id: str,
    key_kind: KeyKind,
    key_fingerprint: str,
    key_source: KeySource,
) -> Disclosure:
    """The description of one disclosure of a key."""
    return Disclosure(
        id=record_id,
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
        key_source=key_source,
    )


def chain(head: Head, disclosed: Iterable[Disclosure]) -> tuple[list[AccessRecord], Head]:
    """The records of `disclosed`, following `head`, and the head after them."""
    records = []
    for one in disclosed:
        number = head.number + 1
        digest = record_hash(head.writer, number, head.hash, one)
        fields = {name: getattr(one, name) for name in Disclosure.__struct_fields__}
        records.append(AccessRecord(**fields, writer=head.writer, number=number, previous_hash=head.hash, hash=digest))
        head = Head(writer=head.writer, number=number, hash=digest)
    return records, head


def record_hash(writer: str, number: int, previous: str, one: Disclosure) -> str:
    """SHA-256 over every field of a record, with lengths, so that no two different ones have the same text."""
    values = [writer, str(number), previous, *(str(getattr(one, name)) for name in Disclosure.__struct_fields__)]
    text = "".join(f"{len(value)}:{value}" for value in values)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()  # a forger may well write half a character
