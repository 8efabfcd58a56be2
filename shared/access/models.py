"""What the broker needs to know of a tenant to reach its account."""

from typing import Literal

import msgspec

from shared.core.caller import ClientId
from shared.core.ids import DirectoryId, TenantId
from shared.core.secret import Secret

type CredentialKind = Literal["secret", "certificate"]


class CredentialName(msgspec.Struct, frozen=True, kw_only=True):
    """Where the daemon's credential lies: a Key Vault secret, and what it holds."""

    vault: str  # https://NAME.vault.azure.net
    name: str
    kind: CredentialKind


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's daemon application: the only identity that may list the keys of the tenant's account."""

    directory_id: DirectoryId  # where it is registered: the publisher's directory
    client_id: ClientId
    credential: CredentialName


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's Cosmos DB account."""

    resource_id: str
    endpoint: str  # https://NAME.documents.azure.com:443/


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's compartment: whose it is, who opens it, where it is."""

    tenant_id: TenantId
    daemon: Daemon
    account: Account


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A daemon's credential as read from Key Vault: a client secret, or a certificate with its private key."""

    kind: CredentialKind
    content_type: str  # of a certificate: application/x-pem-file or application/x-pkcs12 (base64)
    value: Secret
