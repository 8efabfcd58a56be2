"""Entra ID's objects: directories, applications with their credentials, managed identities, security groups.

State only; the token endpoint that works on it is `entra.py`.
"""

import hashlib
import secrets
import uuid
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from infra.local.standin.jwt import EXCHANGE, base64url, v2_issuer
from infra.local.standin.storage import Table
from infra.local.standin.wire import World

SECRET_LIFETIME = 365 * 86_400  # seconds


@dataclass(slots=True, frozen=True)
class ClientSecret:
    """A client secret. As in Entra only its hash is kept, so it can't be read again."""

    key_id: str
    digest: str  # SHA-256 of the value, hex
    expires: float  # seconds since the epoch
    known_at: float = 0.0  # seconds since the epoch; until then no token endpoint knows it


@dataclass(slots=True, frozen=True)
class ClientCertificate:
    """A registered certificate (public part). Thumbprints are base64url without padding."""

    key_id: str
    pem: str
    x5t: str
    x5t_s256: str
    expires: float  # seconds since the epoch
    known_at: float = 0.0  # as above


@dataclass(slots=True, frozen=True)
class FederatedCredential:
    """Trust in tokens that `issuer` signs for `subject`: they serve as the application's client assertion."""

    key_id: str
    issuer: str
    subject: str
    audience: str
    known_at: float = 0.0  # as above


@dataclass(slots=True)
class Application:
    """An application of one directory with its service principal there."""

    client_id: str
    directory_id: str
    name: str
    principal_id: str  # object id of the service principal
    secrets: list[ClientSecret] = field(default_factory=list)
    certificates: list[ClientCertificate] = field(default_factory=list)
    federated: list[FederatedCredential] = field(default_factory=list)
    known_at: float = 0.0  # as above


@dataclass(slots=True, frozen=True)
class Identity:
    """A user-assigned managed identity."""

    name: str
    directory_id: str
    client_id: str
    principal_id: str
    resource_id: str


@dataclass(slots=True, frozen=True)
class Group:
    """A security group."""

    object_id: str
    directory_id: str
    name: str


class Directories:
    """All directories and their objects, written through to storage."""

    def __init__(self, world: World) -> None:
        self._world = world
        load = world.storage.load
        self._names: dict[str, str] = dict(load("entra/directories"))  # id -> display name
        self._applications = Table(world.storage, "entra/applications", Application)
        self._identities = Table(world.storage, "entra/identities", Identity)
        self._groups = Table(world.storage, "entra/groups", Group)
        self._members = {tuple(key.split("/")) for key, _ in load("entra/members")}  # (group, principal)
        self._principals = {one.principal_id: one for one in self._applications}

    def create(self, directory_id: str, name: str) -> None:
        """A directory; again only renames it."""
        self._names[directory_id] = name
        self._world.storage.put("entra/directories", directory_id, name)

    def exists(self, directory_id: str) -> bool:
        """Whether there is such a directory."""
        return directory_id in self._names

    def create_application(self, directory_id: str, name: str, *, client_id: str | None = None) -> Application:
        """An application without credentials, and its service principal."""
        application = Application(
            client_id or str(uuid.uuid4()), directory_id, name, str(uuid.uuid4()), known_at=self._known_at()
        )
        self._principals[application.principal_id] = application
        self._save(application)
        return application

    def application(self, client_id: str) -> Application | None:
        """The application of that client id."""
        return self._applications.get(client_id)

    def known_application(self, client_id: str) -> Application | None:
        """The application as the token endpoint sees it: what is new is not everywhere yet, if a delay is set."""
        now, application = self._world.now(), self._applications.get(client_id)
        if application is None or application.known_at > now:
            return None
        return replace(
            application,
            secrets=[one for one in application.secrets if one.known_at <= now],
            certificates=[one for one in application.certificates if one.known_at <= now],
            federated=[one for one in application.federated if one.known_at <= now],
        )

    def add_secret(self, client_id: str, *, expires: float | None = None) -> tuple[str, str]:
        """A new client secret beside those that exist: (key id, value). `expires` is in seconds since the epoch."""
        application = self._existing(client_id)
        value = secrets.token_urlsafe(30)[:40]
        expires = expires or self._world.now() + SECRET_LIFETIME
        secret = ClientSecret(str(uuid.uuid4()), _digest(value), expires, self._known_at())
        application.secrets.append(secret)
        self._world.secrets.add("daemon_secret", value)
        self._save(application)
        return secret.key_id, value

    def add_certificate(self, client_id: str, certificate: x509.Certificate) -> str:
        """Register a certificate beside those that exist and give its key id."""
        application = self._existing(client_id)
        entry = ClientCertificate(
            str(uuid.uuid4()),
            certificate.public_bytes(Encoding.PEM).decode(),
            base64url(certificate.fingerprint(hashes.SHA1())),  # noqa: S303 - x5t is SHA-1 by RFC 7515
            base64url(certificate.fingerprint(hashes.SHA256())),
            certificate.not_valid_after_utc.timestamp(),
            self._known_at(),
        )
        application.certificates.append(entry)
        self._save(application)
        return entry.key_id

    def add_federated(self, client_id: str, identity: Identity) -> str:
        """Let the application trust a managed identity of its own directory; gives the credential's key id."""
        application = self._existing(client_id)
        credential = FederatedCredential(
            str(uuid.uuid4()), v2_issuer(application.directory_id), identity.principal_id, EXCHANGE, self._known_at()
        )
        application.federated.append(credential)
        self._save(application)
        return credential.key_id

    def remove_credentials(self, client_id: str, *, keep: str) -> None:
        """Remove every credential except the one with key id `keep`."""
        application = self._existing(client_id)
        application.secrets = [secret for secret in application.secrets if secret.key_id == keep]
        application.certificates = [entry for entry in application.certificates if entry.key_id == keep]
        application.federated = [entry for entry in application.federated if entry.key_id == keep]
        self._save(application)

    def create_identity(self, identity: Identity) -> None:
        """A managed identity; again replaces it."""
        self._identities.put(identity.client_id, identity)

    def identity(self, client_id: str) -> Identity | None:
        """The managed identity with this client id."""
        return self._identities.get(client_id.lower())

    def create_group(self, group: Group) -> None:
        """A security group; again replaces it."""
        self._groups.put(group.object_id, group)

    def add_member(self, group_id: str, principal_id: str) -> None:
        """Make a principal a member of the group; again is no error."""
        self._members.add((group_id, principal_id))
        self._world.storage.put("entra/members", f"{group_id}/{principal_id}", "")

    def has_principal(self, principal_id: str, directory_id: str) -> bool:
        """Whether the directory knows a service principal, managed identity or group of this object id."""
        application = self._principals.get(principal_id)
        if application is not None:
            return application.directory_id == directory_id and application.known_at <= self._world.now()
        others = {one.principal_id: one.directory_id for one in self._identities}
        others |= {one.object_id: one.directory_id for one in self._groups}
        return others.get(principal_id) == directory_id

    def groups_of(self, principal_id: str) -> list[str]:
        """Object ids of the groups that the principal is a member of."""
        return [one.object_id for one in self._groups if (one.object_id, principal_id) in self._members]

    def _existing(self, client_id: str) -> Application:
        application = self._applications.get(client_id)
        if application is None:
            raise KeyError(client_id)
        return application

    def _known_at(self) -> float:
        return self._world.now() + self._world.settings.credential_delay_seconds

    def _save(self, application: Application) -> None:
        self._applications.put(application.client_id, application)


def matching_secret(application: Application, value: str) -> ClientSecret | None:
    """The application's secret with this value, expired or not."""
    digest = _digest(value)
    return next((one for one in application.secrets if secrets.compare_digest(one.digest, digest)), None)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
