"""A tenant as the registry knows it. No secret and no candidate's data."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.access.models import Account, CredentialKind, Daemon, Target
from shared.core.caller import ClientId
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import DirectoryId, TenantId
from shared.core.text import GUID, VISIBLE, whole

type TenantStatus = Literal["active", "locked"]
_NAME = r"[0-9A-Za-z_().-]*[0-9A-Za-z_()-]"  # of a resource: no dot at its end, so neither `.` nor `..`

type Text = Annotated[str, Meta(min_length=1, max_length=200, pattern=whole(VISIBLE))]
type Base64Url = Annotated[str, Meta(pattern=whole(r"[0-9A-Za-z_-]{1,1400}"))]  # RSA of 8192 bits takes 1366


class SigningKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A public key (JWK, RFC 7517) with which the tenant signs its queue messages. The algorithm is the key's own."""

    kid: Annotated[str, Meta(min_length=1, max_length=128)]
    kty: Literal["OKP", "EC", "RSA"]
    alg: Literal["EdDSA", "ES256", "RS256", "PS256"]
    crv: Literal["Ed25519", "P-256"] | None = None
    x: Base64Url | None = None
    y: Base64Url | None = None
    n: Base64Url | None = None
    e: Base64Url | None = None
    use: Literal["sig"] | None = None
    d: None = None  # a private key is refused, not taken and cut


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One client company."""

    id: TenantId
    kind: Literal["tenant"] = "tenant"  # the registry's partition
    name: str
    directory_id: DirectoryId  # the customer's directory: a token's `tid` finds the tenant by it
    application_id: str  # resource id of the managed application, lower case
    account: Account
    daemon: Daemon
    status: TenantStatus
    allowed_client_ids: tuple[ClientId, ...] = ()
    signing_keys: tuple[SigningKey, ...] = ()
    created_at: str
    updated_at: str

    def require_active(self) -> None:
        """Raise BulkheadError (forbidden) when the tenant is locked, or of a status that is not known here."""
        if self.status != "active":
            raise BulkheadError(Kind.FORBIDDEN, "tenant_locked", "This tenant is locked.")

    @property
    def target(self) -> Target:
        """What the broker needs to know. Raises BulkheadError (forbidden) when the tenant is locked."""
        self.require_active()
        return Target(tenant_id=self.id, daemon=self.daemon, account=self.account)


class CredentialChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a daemon is to sign in with."""

    credential: CredentialKind
    credential_name: Annotated[str, Meta(pattern=whole(r"[0-9A-Za-z-]{1,127}"))] | None = None  # none when federated
    vault: Annotated[str, Meta(pattern=whole(r"https://[0-9A-Za-z-]{3,24}\.vault\.azure\.net/?"))] | None = None


class Registration(CredentialChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /tenants`: a tenant that an operator prepared by hand."""

    name: Text
    application_id: Annotated[
        str,
        Meta(
            pattern=whole(
                rf"/?subscriptions/{GUID}/resourceGroups/{_NAME}/providers/Microsoft\.Solutions/applications/{_NAME}"
            )
        ),
    ]
    daemon_client_id: Annotated[str, Meta(pattern=whole(GUID))]


class DaemonChange(CredentialChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PATCH /tenants/{id}`: another credential for the tenant's daemon, or another daemon with its credential."""

    daemon_client_id: Annotated[str, Meta(pattern=whole(GUID))] | None = None  # None: the present one


class TenantPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PATCH /tenant`: the tenant's own settings. What is absent stays."""

    allowed_client_ids: (
        Annotated[
            tuple[Annotated[str, Meta(pattern=whole(GUID))], ...],
            Meta(max_length=50),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET


class KeySet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /tenant/signing_keys`: a JWKS."""

    keys: Annotated[tuple[SigningKey, ...], Meta(max_length=20)]


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as the API shows it."""

    id: TenantId
    name: str
    status: TenantStatus
    directory_id: DirectoryId
    application_id: str
    cosmos_account: str
    daemon_client_id: ClientId
    credential: CredentialKind
    credential_name: str
    vault: str
    allowed_client_ids: tuple[ClientId, ...]
    signing_keys: tuple[SigningKey, ...]
    created_at: str
    updated_at: str


def view(tenant: Tenant) -> TenantView:
    """The shown form of `tenant`."""
    return TenantView(
        id=tenant.id,
        name=tenant.name,
        status=tenant.status,
        directory_id=tenant.directory_id,
        application_id=tenant.application_id,
        cosmos_account=tenant.account.resource_id,
        daemon_client_id=tenant.daemon.client_id,
        credential=tenant.daemon.credential.kind,
        credential_name=tenant.daemon.credential.name,
        vault=tenant.daemon.credential.vault,
        allowed_client_ids=tenant.allowed_client_ids,
        signing_keys=tenant.signing_keys,
        created_at=tenant.created_at,
        updated_at=tenant.updated_at,
    )
