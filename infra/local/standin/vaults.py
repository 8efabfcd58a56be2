"""Key Vault's objects: vaults, their secrets and the secrets' versions. State only; the wire is `key_vault.py`."""

import uuid
from dataclasses import dataclass, field

import msgspec

from infra.local.standin.storage import Table
from infra.local.standin.wire import World


@dataclass(slots=True, frozen=True)
class Vault:
    """A vault. Access to its secrets is decided by roles at its resource id (Azure RBAC permission model)."""

    name: str
    directory_id: str
    resource_id: str

    @property
    def url(self) -> str:
        """The vault's address, without trailing slash."""
        return f"https://{self.name}.vault.azure.net"


class Attributes(msgspec.Struct, omit_defaults=True):
    """Attributes of a version under the wire's names. Times are seconds since the epoch."""

    created: int
    updated: int
    enabled: bool
    nbf: int | None = None  # not before
    exp: int | None = None  # expires


@dataclass(slots=True)
class SecretVersion:
    """One version of a secret."""

    id: str
    value: str
    attributes: Attributes
    content_type: str | None = None
    tags: dict[str, str] | None = None


@dataclass(slots=True)
class VaultSecret:
    """A secret with its versions, oldest first. A deleted one keeps its name until it is recovered."""

    name: str
    versions: list[SecretVersion] = field(default_factory=list)
    deleted: int | None = None  # seconds since the epoch

    def version(self, version_id: str) -> SecretVersion | None:
        """The version of that id; the newest for an empty id."""
        if not version_id:
            return self.versions[-1]
        return next((version for version in self.versions if version.id == version_id), None)


class Vaults:
    """All vaults. Their secrets are written through to storage."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._vaults: dict[str, Vault] = {}
        self._secrets: dict[str, Table[VaultSecret]] = {}

    def create(self, vault: Vault) -> None:
        """Add a vault, at every start anew; the secrets that are stored of it are in it again."""
        self._vaults[vault.name] = vault
        self._secrets[vault.name] = Table(self._world.storage, f"key_vault/secrets/{vault.name}", VaultSecret)

    def get(self, name: str) -> Vault | None:
        """The vault of that name."""
        return self._vaults.get(name)

    def secrets(self, vault: Vault) -> list[VaultSecret]:
        """The vault's secrets by name, deleted ones among them."""
        return sorted(self._secrets[vault.name], key=lambda secret: secret.name.lower())

    def secret(self, vault: Vault, name: str) -> VaultSecret | None:
        """The secret of that name, deleted or not. Names ignore case."""
        return self._secrets[vault.name].get(name.lower())

    def new_version(self, value: str, content_type: str | None = None, expires: int | None = None) -> SecretVersion:
        """A version that is made now; `expires` in seconds since the epoch."""
        now = int(self._world.now())
        return SecretVersion(uuid.uuid4().hex, value, Attributes(now, now, enabled=True, exp=expires), content_type)

    def add_version(self, vault: Vault, name: str, version: SecretVersion) -> VaultSecret:
        """Add a version to the secret `name`, which is made if it is not there. A deleted one must not be given."""
        secret = self.secret(vault, name) or VaultSecret(name)
        secret.versions.append(version)
        self._world.secrets.add("vault_secret", version.value)
        self.save(vault, secret)
        return secret

    def delete(self, vault: Vault, secret: VaultSecret) -> None:
        """Delete a secret; it can be recovered."""
        secret.deleted = int(self._world.now())
        self.save(vault, secret)

    def save(self, vault: Vault, secret: VaultSecret) -> None:
        """Write a changed secret through to storage."""
        self._secrets[vault.name].put(secret.name.lower(), secret)
