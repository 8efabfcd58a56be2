"""Entra ID's objects: directories, applications with their credentials, managed identities, security groups.

State only; the token endpoint that works on it is `entra.py`.
"""

import hashlib
import secrets
import uuid
from dataclasses import dataclass, field, replace

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.utils import base64url_encode

from infra.local.standin.jwt import EXCHANGE, v2_issuer
from infra.local.standin.storage import Table
from infra.local.standin.wire import World

SECRET_LIFETIME = 365 * 86_400  # seconds


class _Credential(msgspec.Struct, frozen=True, tag=True):
    """What every credential of an application has."""

    key_id: str
    known_at: float  # seconds since the epoch; until then no token endpoint knows it


class ClientSecret(_Credential, frozen=True):
    """A client secret. As in Entra only its hash is kept, so it can't be read again."""

    digest: str  # SHA-256 of the value, hex
    expires: float  # seconds since the epoch


class ClientCertificate(_Credential, frozen=True):
    """A registered certificate (public part). Thumbprints are base64url without padding."""

    pem: str
    x5t: str
    x5t_s256: str
    expires: float  # seconds since the epoch


class FederatedCredential(_Credential, frozen=True):
    """Trust in tokens that `issuer` signs for `subject`: they serve as the application's client assertion."""

    issuer: str
    subject: str
    audience: str


type Credential = ClientSecret | ClientCertificate | FederatedCredential


@dataclass(slots=True)
class Application:
    """An application of one directory with its service principal there."""

    client_id: str
    directory_id: str
    name: str
    principal_id: str  # object id of the service principal
    known_at: float  # as above
    credentials: list[Credential] = field(default_factory=list)

    def having[T: _Credential](self, kind: type[T]) -> list[T]:
        """Its credentials of one kind."""
        return [one for one in self.credentials if isinstance(one, kind)]

    def secret(self, value: str) -> ClientSecret | None:
        """Its secret with this value, expired or not."""
        digest = _digest(value)
        return next((one for one in self.having(ClientSecret) if secrets.compare_digest(one.digest, digest)), None)


@dataclass(slots=True, frozen=True)
class Identity:
    """A user-assigned managed identity."""

    name: str
    directory_id: str
    client_id: str
    principal_id: str
    resource_id: str


class Directories:
    """All directories and their objects; what customers and administrators make is written through to storage."""

    def __init__(self, world: World) -> None:
        self._world = world
        load = world.storage.load
        self._names: dict[str, str] = dict(load("entra/directories"))  # id -> display name
        self._applications = Table(world.storage, "entra/applications", Application)
        self._identities: dict[str, Identity] = {}
        self._groups: dict[str, set[str]] = {}  # that a principal is a member of
        for key, _ in load("entra/members"):
            group_id, principal_id = key.split("/")
            self._groups.setdefault(principal_id, set()).add(group_id)
        # Object id of whoever may be given a role -> directory, and since when it is known there.
        self._principals = {one.principal_id: (one.directory_id, one.known_at) for one in self._applications}

    def create(self, directory_id: str, name: str) -> None:
        """A directory; again only renames it."""
        self._names[directory_id] = name
        self._world.storage.put("entra/directories", directory_id, name)

    def exists(self, directory_id: str) -> bool:
        """Whether there is such a directory."""
        return directory_id in self._names

    def create_application(self, directory_id: str, name: str, *, client_id: str | None = None) -> Application:
        """An application without credentials, and its service principal."""
        client_id, principal_id = client_id or str(uuid.uuid4()), str(uuid.uuid4())
        application = Application(client_id, directory_id, name, principal_id, self._known_at())
        self._principals[principal_id] = (directory_id, application.known_at)
        self._applications.put(client_id, application)
        return application

    def application(self, client_id: str) -> Application | None:
        """The application of that client id."""
        return self._applications.get(client_id)

    def known_application(self, client_id: str) -> Application | None:
        """The application as the token endpoint sees it: what is new is not everywhere yet, if a delay is set."""
        now, application = self._world.now(), self._applications.get(client_id)
        if application is None or application.known_at > now:
            return None
        return replace(application, credentials=[one for one in application.credentials if one.known_at <= now])

    def add_secret(self, client_id: str) -> tuple[str, str]:
        """A new client secret beside those that exist: (key id, value)."""
        value = secrets.token_urlsafe(30)[:40]
        self._world.secrets.add("daemon_secret", value)
        expires = self._world.now() + SECRET_LIFETIME
        return self._add(client_id, ClientSecret(_new_id(), self._known_at(), _digest(value), expires)), value

    def add_certificate(self, client_id: str, certificate: x509.Certificate) -> str:
        """Register a certificate beside those that exist and give its key id."""
        entry = ClientCertificate(
            _new_id(),
            self._known_at(),
            certificate.public_bytes(Encoding.PEM).decode(),
            base64url_encode(certificate.fingerprint(hashes.SHA1())).decode(),  # noqa: S303 - x5t is SHA-1 by RFC 7515
            base64url_encode(certificate.fingerprint(hashes.SHA256())).decode(),
            certificate.not_valid_after_utc.timestamp(),
        )
        return self._add(client_id, entry)

    def add_federated(self, client_id: str, identity: Identity) -> str:
        """Let the application trust a managed identity of its own directory; gives the credential's key id."""
        issuer = v2_issuer(identity.directory_id)
        entry = FederatedCredential(_new_id(), self._known_at(), issuer, identity.principal_id, EXCHANGE)
        return self._add(client_id, entry)

    def _add(self, client_id: str, credential: Credential) -> str:
        application = self._applications[client_id]
        application.credentials.append(credential)
        self._applications.put(client_id, application)
        return credential.key_id

    def remove_credentials(self, client_id: str, *, keep: str) -> None:
        """Remove every credential except the one with key id `keep`."""
        application = self._applications[client_id]
        application.credentials = [one for one in application.credentials if one.key_id == keep]
        self._applications.put(client_id, application)

    def create_identity(self, identity: Identity) -> None:
        """A managed identity, which is made at every start anew."""
        self._identities[identity.client_id] = identity
        self._principals[identity.principal_id] = (identity.directory_id, 0.0)

    def identity(self, client_id: str) -> Identity | None:
        """The managed identity with this client id."""
        return self._identities.get(client_id.lower())

    def create_group(self, object_id: str, directory_id: str) -> None:
        """A security group, which is made at every start anew; its members are stored."""
        self._principals[object_id] = (directory_id, 0.0)

    def add_member(self, group_id: str, principal_id: str) -> None:
        """Make a principal a member of the group; again is no error."""
        self._groups.setdefault(principal_id, set()).add(group_id)
        self._world.storage.put("entra/members", f"{group_id}/{principal_id}", "")

    def has_principal(self, principal_id: str, directory_id: str) -> bool:
        """Whether the directory knows a service principal, managed identity or group of this object id."""
        home, known_at = self._principals.get(principal_id, ("", 0.0))
        return home == directory_id and known_at <= self._world.now()

    def principals(self, object_id: str) -> set[str]:
        """Whose rights a principal has: its own, and those of the groups that it is a member of."""
        return {object_id, *self._groups.get(object_id, ())}

    def _known_at(self) -> float:
        return self._world.now() + self._world.settings.credential_delay_seconds


def _new_id() -> str:
    return str(uuid.uuid4())


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
