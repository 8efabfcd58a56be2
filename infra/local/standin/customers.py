"""What customers and administrators do in Azure: deploy and delete the managed application, make daemons by hand."""

import base64
import hashlib
import re
import secrets
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from infra.local.standin import package, publisher
from infra.local.standin.authorization import DenyAssignment, RoleAssignment, RoleDefinition
from infra.local.standin.azure import Azure
from infra.local.standin.certificates import SelfSigned
from infra.local.standin.directories import SECRET_LIFETIME
from infra.local.standin.locks import Level
from infra.local.standin.resources import ManagedApplication, Subscription
from infra.local.standin.storage import Table
from infra.local.standin.vaults import SecretVersion

type CredentialKind = Literal["secret", "certificate", "federated"]
type CertificateFormat = Literal["pem", "pkcs12"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
# What every managed application leaves to the customer, and what this package allows it besides.
_CUSTOMER_ACTIONS = (
    "*/read",
    "Microsoft.DocumentDB/databaseAccounts/regenerateKey/action",
    "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/throughputSettings/write",
    "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/throughputSettings/write",
)


class NotThereError(Exception):
    """No tenant or daemon of that name."""

    status = 404


class TakenError(Exception):
    """There is one of that name already."""

    status = 409


@dataclass(slots=True, frozen=True)
class Tenant:
    """A customer's deployment: what Azure knows of it."""

    name: str
    directory_id: str
    subscription_id: str
    resource_group: str  # the managed one, which holds the account
    application_id: str
    cosmos_account: str

    @property
    def subscription(self) -> str:
        """Resource id of the subscription."""
        return f"/subscriptions/{self.subscription_id}"

    @property
    def managed_group(self) -> str:
        """Resource id of the managed resource group."""
        return f"{self.subscription}/resourceGroups/{self.resource_group}"

    @property
    def account_id(self) -> str:
        """Resource id of the Cosmos DB account."""
        return f"{self.managed_group}/providers/Microsoft.DocumentDB/databaseAccounts/{self.cosmos_account}"

    @property
    def daemon_role_id(self) -> str:
        """GUID of the custom role that the package made in the customer's directory."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.managed_group}/bulkhead-daemon"))


@dataclass(slots=True, frozen=True)
class Daemon:
    """A tenant's daemon application in the publisher's directory, with its credential in the vault.

    A federated one trusts the data plane's managed identity, and nothing of it is in the vault.
    """

    name: str  # the tenant's
    client_id: str
    object_id: str
    credential: CredentialKind
    vault: str | None = None  # URL
    credential_name: str | None = None


class Customers:
    """All tenants and daemons, written through to storage."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self._storage = azure.world.storage
        self._package = package.load()
        self._tenants = Table(self._storage, "customers/tenants", Tenant)
        self._daemons = Table(self._storage, "customers/daemons", Daemon)

    def tenants(self) -> list[Tenant]:
        """Every deployed tenant, by name."""
        return sorted(self._tenants, key=lambda tenant: tenant.name)

    def tenant(self, name: str) -> Tenant:
        """The tenant of that name. Raises NotThereError."""
        tenant = self._tenants.get(name)
        if tenant is None:
            raise NotThereError(f"There is no tenant '{name}'; POST /tenants deploys one.")
        return tenant

    def daemons(self) -> list[Daemon]:
        """Every daemon made by hand, by its tenant's name."""
        return sorted(self._daemons, key=lambda daemon: daemon.name)

    def deploy(self, name: str, directory_id: str | None = None) -> Tenant:
        """A customer deploys the managed application, in a new directory unless `directory_id` is given.

        Raises ValueError for an unusable name or directory, TakenError for a known name.
        """
        if not _NAME.fullmatch(name):
            raise ValueError("A tenant's name is up to 40 lower-case letters, digits and dashes.")
        if self._tenants.get(name):
            raise TakenError(f"The tenant '{name}' is deployed already.")
        directory_id = str(uuid.UUID(directory_id)) if directory_id else str(uuid.uuid4())
        if directory_id == publisher.DIRECTORY_ID:
            raise ValueError("The publisher's own directory cannot be a customer's.")
        subscription = f"/subscriptions/{(subscription_id := str(uuid.uuid4()))}"
        group = f"mrg-bulkhead-{name}"
        seed = hashlib.sha256(f"{subscription}/resourceGroups/{group}".encode()).digest()
        tenant = Tenant(
            name,
            directory_id,
            subscription_id,
            group,
            f"{subscription}/resourceGroups/rg-{name}/providers/Microsoft.Solutions/applications/bulkhead",
            "bh" + base64.b32encode(seed).decode().lower()[:13],
        )
        with self._storage.transaction():
            self._azure.directories.create(directory_id, name)
            self._azure.resources.add_subscription(Subscription(subscription_id, directory_id, name))
            self._deploy_application(tenant)
            self._deploy_package(tenant)
            self._tenants.put(name, tenant)
            self._daemons.remove(name)  # of an earlier deployment: this one needs its own
        return tenant

    def _deploy_application(self, tenant: Tenant) -> None:
        """Managed application and managed resource group, the publisher's roles there, and the deny assignment."""
        provider = f"{tenant.subscription}/providers/Microsoft.Authorization"
        outputs = {
            "account": tenant.cosmos_account,
            "endpoint": f"https://{tenant.cosmos_account}.documents.azure.com:443/",
            "daemonRole": f"{provider}/roleDefinitions/{tenant.daemon_role_id}",
        }
        created = datetime.fromtimestamp(self._azure.world.now(), UTC).isoformat().replace("+00:00", "Z")
        grants = publisher.AUTHORIZATIONS
        application = ManagedApplication(
            tenant.application_id, tenant.managed_group, publisher.DIRECTORY_ID, grants, outputs, created
        )
        self._azure.resources.add_application(application)
        for grant in grants:
            self._assign(tenant.managed_group, grant.role_id, grant.principal_id)
        self._azure.authorization.deny(
            DenyAssignment(
                str(uuid.uuid4()),
                tenant.managed_group,
                f"System deny assignment created by managed application {tenant.application_id}",
                actions=("*",),
                not_actions=_CUSTOMER_ACTIONS,
                excluded=[grant.principal_id for grant in grants],
            )
        )

    def _deploy_package(self, tenant: Tenant) -> None:
        """What mainTemplate.json puts into the managed resource group."""
        self._azure.authorization.define(
            RoleDefinition(
                tenant.daemon_role_id,
                f"Bulkhead daemon {tenant.cosmos_account}",
                tenant.directory_id,
                actions=self._package.role_actions,
                assignable_scopes=(tenant.managed_group,),
            )
        )
        self._azure.accounts.create(
            tenant.cosmos_account,
            tenant.account_id,
            tenant.directory_id,
            local_auth_disabled=self._package.account.get("disableLocalAuth", False),
            key_metadata_writes_disabled=self._package.account.get("disableKeyBasedMetadataWriteAccess", False),
        )
        for database in self._package.databases:
            self._azure.cosmos.create_database(tenant.cosmos_account, database)
        for database, definition in self._package.containers:
            self._azure.cosmos.create_container(tenant.cosmos_account, database, definition)

    def _assign(self, scope: str, role_id: str, principal_id: str) -> None:
        self._azure.authorization.assign(RoleAssignment(str(uuid.uuid4()), scope, role_id, principal_id))

    def delete(self, name: str) -> None:
        """A customer deletes the managed application, and with it all data. Directory and subscription stay.

        The daemon's application and credential are the publisher's and stay as well. Raises NotThereError, and ArmError
        409 when it is locked.
        """
        tenant = self.tenant(name)
        self._azure.locks.check("DELETE", tenant.managed_group)
        with self._storage.transaction():
            self._azure.authorization.remove_scope(tenant.managed_group)
            self._azure.resources.remove_application(tenant.subscription_id)
            self._azure.cosmos.drop_account(tenant.cosmos_account)
            self._azure.accounts.delete(tenant.cosmos_account)
            self._tenants.remove(name)

    def lock(self, name: str, level: Level | None) -> None:
        """The customer puts a lock on its whole subscription, or takes it away. Raises NotThereError."""
        self._azure.locks.set(self.tenant(name).subscription, level)

    def create_daemon(self, name: str, credential: CredentialKind, form: CertificateFormat) -> Daemon:
        """An administrator of the publisher makes the daemon application of a tenant and gives it its role there.

        Raises NotThereError without the tenant, TakenError when it has a daemon.
        """
        tenant = self.tenant(name)
        if self._daemons.get(name):
            raise TakenError(f"The tenant '{name}' has a daemon; POST /daemons/{name}/rotate renews its credential.")
        with self._storage.transaction():
            application = self._azure.directories.create_application(publisher.DIRECTORY_ID, f"bulkhead-daemon-{name}")
            self._azure.directories.add_member(publisher.DAEMONS_GROUP_ID, application.principal_id)
            self._assign(tenant.account_id, tenant.daemon_role_id, application.principal_id)
            daemon = Daemon(name, application.client_id, application.principal_id, credential)
            daemon, _ = self._renew(daemon, form)
        return daemon

    def rotate_daemon(self, name: str, credential: CredentialKind, form: CertificateFormat) -> Daemon:
        """A new credential in Entra, a new version in the vault, then the old credentials removed from Entra.

        Raises NotThereError without the daemon.
        """
        daemon = self._daemons.get(name)
        if daemon is None:
            raise NotThereError(f"The tenant '{name}' has no daemon; POST /daemons makes one.")
        with self._storage.transaction():
            daemon, key_id = self._renew(replace(daemon, credential=credential), form)
            self._azure.directories.remove_credentials(daemon.client_id, keep=key_id)
        return daemon

    def _renew(self, daemon: Daemon, form: CertificateFormat) -> tuple[Daemon, str]:
        """Add a credential to the daemon's application and put it into the vault: the daemon, its key id in Entra."""
        vaults = self._azure.vaults
        if daemon.credential == "federated":
            key_id = self._azure.directories.add_federated(daemon.client_id, publisher.DATA_IDENTITY)
            if daemon.credential_name and (secret := vaults.secret(publisher.VAULT, daemon.credential_name)):
                vaults.delete(publisher.VAULT, secret)
            daemon = replace(daemon, vault=None, credential_name=None)
        else:
            # A name that was never used: a deleted secret keeps its name.
            name = daemon.credential_name or f"daemon-{daemon.name}-{secrets.token_hex(4)}"
            daemon = replace(daemon, vault=publisher.VAULT.url + "/", credential_name=name)
            key_id, version = self._new_credential(daemon, form)
            vaults.add_version(publisher.VAULT, name, version)
        self._daemons.put(daemon.name, daemon)
        return daemon, key_id

    def _new_credential(self, daemon: Daemon, form: CertificateFormat) -> tuple[str, SecretVersion]:
        """A new secret or certificate of the daemon's application: its key id there, and what the vault gets."""
        directories, issued, new = self._azure.directories, self._azure.world.secrets, self._azure.vaults.new_version
        if daemon.credential == "secret":
            key_id, value = directories.add_secret(daemon.client_id)
            return key_id, new(value, "text/plain", int(self._azure.world.now()) + SECRET_LIFETIME)
        made = SelfSigned(f"bulkhead-daemon-{daemon.name}")
        key_id = directories.add_certificate(daemon.client_id, made.certificate)
        private_key = made.private_key_pem()
        issued.add("private_key", private_key)
        # A line of the key by itself, so that a leak with other line ends is found too.
        issued.add("private_key", private_key.splitlines()[2])
        expires = int(made.certificate.not_valid_after_utc.timestamp())
        if form == "pem":
            return key_id, new(made.pem(), "application/x-pem-file", expires)
        return key_id, new(base64.b64encode(made.pkcs12()).decode(), "application/x-pkcs12", expires)
