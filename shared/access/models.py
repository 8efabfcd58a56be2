"""What the broker needs to know of a tenant to reach its account.

Addresses must be Azure's own, here and not only where tenants are registered: whoever could write to the registry must
not be sent a token or a credential.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.core.caller import ClientId
from shared.core.ids import DirectoryId, TenantId
from shared.core.secret import Secret
from shared.core.text import whole

type CredentialKind = Literal["secret", "certificate", "federated"]
type CredentialForm = Literal["client_secret", "pem", "pkcs12", "assertion"]


class CredentialName(msgspec.Struct, frozen=True, kw_only=True):
    """Where the daemon's credential lies: the name of a Key Vault secret.

    `kind` is what it held at registration; each version's content type tells what it holds now, so that a secret can
    be rotated into a certificate while the service runs. `federated` needs none: the daemon application trusts the
    service's managed identity itself. Then vault and name are empty.
    """

    kind: CredentialKind
    vault: Annotated[str, Meta(pattern=whole(r"(https://[0-9A-Za-z-]{3,24}\.vault\.azure\.net)?"))] = ""
    name: Annotated[str, Meta(pattern=whole(r"[0-9A-Za-z-]{0,127}"))] = ""


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's daemon application: the only identity that may list the keys of the tenant's account."""

    directory_id: DirectoryId  # where it is registered: the publisher's directory
    client_id: ClientId
    credential: CredentialName


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's Cosmos DB account."""

    resource_id: Annotated[
        str,
        Meta(
            pattern=whole(
                r"/subscriptions/[0-9A-Fa-f-]{36}/resource[Gg]roups/[^/?#\\]{1,90}"
                r"/providers/Microsoft\.DocumentDB/databaseAccounts/[0-9a-z-]{3,50}"
            )
        ),
    ]
    endpoint: Annotated[str, Meta(pattern=whole(r"https://[0-9a-z-]{3,50}\.documents\.azure\.com:443/"))]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's compartment: whose it is, who opens it, where it is."""

    tenant_id: TenantId
    daemon: Daemon
    account: Account


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A daemon's credential in use: a client secret, a certificate with its key, or an identity's token as assertion.

    PEM is text, PKCS#12 in base64, as Key Vault gives both.
    """

    form: CredentialForm
    value: Secret

    def forget(self) -> None:
        """Drop the value."""
        self.value.forget()
