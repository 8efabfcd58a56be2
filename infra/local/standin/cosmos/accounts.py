"""Accounts of Azure Cosmos DB: their four keys and data-plane roles, shared by Resource Manager and the data plane.

Resource Manager creates and deletes accounts, lists and regenerates keys, and assigns data-plane roles here; the
data plane reads the keys in force at every request. A key that is regenerated is refused from that moment on.
"""

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from infra.local.standin.wire import World

type KeyKind = Literal["primary", "secondary", "primaryReadonly", "secondaryReadonly"]
KEY_KINDS: tuple[KeyKind, ...] = ("primary", "secondary", "primaryReadonly", "secondaryReadonly")
READ_WRITE_KEYS: tuple[KeyKind, ...] = ("primary", "secondary")

type DataRole = Literal["reader", "contributor"]

_STORED = "cosmos/accounts"
_KEY_BYTES = 64


@dataclass(slots=True, frozen=True)
class DataRoleAssignment:
    """A principal's data-plane role over the whole account: Cosmos DB Built-in Data Reader or Data Contributor."""

    principal_id: str
    role: DataRole


@dataclass(slots=True)
class Account:
    """One account. `generated` holds each key's RFC 3339 generation time, None for one never regenerated.

    `key_metadata_writes_disabled` is the property disableKeyBasedMetadataWriteAccess: with it keys cannot create or
    delete databases and containers.
    """

    name: str
    resource_id: str
    directory_id: str
    keys: dict[KeyKind, str]
    generated: dict[KeyKind, str | None]
    local_auth_disabled: bool = False
    key_metadata_writes_disabled: bool = False
    data_roles: list[DataRoleAssignment] = field(default_factory=list)

    def key_bytes(self, kind: KeyKind) -> bytes:
        """The key as the signature's HMAC uses it."""
        return base64.b64decode(self.keys[kind])

    def role_of(self, principal_id: str) -> DataRole | None:
        """The strongest data-plane role of `principal_id` (an object id), None without one."""
        roles = {assignment.role for assignment in self.data_roles if assignment.principal_id == principal_id}
        return "contributor" if "contributor" in roles else "reader" if roles else None


class Accounts:
    """All accounts of the stand-in, by name and by resource id. Both are compared without regard to case."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_name: dict[str, Account] = {}
        for name, stored in world.storage.load(_STORED):
            self._by_name[name] = _parse(json.loads(stored))

    def create(
        self,
        name: str,
        resource_id: str,
        directory_id: str,
        *,
        local_auth_disabled: bool = False,
        key_metadata_writes_disabled: bool = False,
    ) -> Account:
        """A new account with four new keys. `directory_id` is the directory of its subscription.

        Raises ValueError when the name is taken: account names are unique in all of Azure.
        """
        if name.lower() in self._by_name:
            raise ValueError(f"The Cosmos DB account name {name} is taken.")
        keys = {kind: self._new_key() for kind in KEY_KINDS}
        account = Account(
            name.lower(),
            resource_id,
            directory_id,
            keys,
            dict.fromkeys(KEY_KINDS),
            local_auth_disabled,
            key_metadata_writes_disabled,
        )
        self._by_name[account.name] = account
        self._save(account)
        return account

    def get(self, name: str) -> Account | None:
        """The account of that name."""
        return self._by_name.get(name.lower())

    def by_resource_id(self, resource_id: str) -> Account | None:
        """The account of that resource id."""
        wanted = resource_id.lower()
        return next((account for account in self._by_name.values() if account.resource_id.lower() == wanted), None)

    def all(self) -> list[Account]:
        """Every account."""
        return list(self._by_name.values())

    def delete(self, name: str) -> None:
        """Remove the account; no error when it is not there. Its data is dropped by `CosmosService.drop_account`."""
        if self._by_name.pop(name.lower(), None) is not None:
            self._world.storage.delete(_STORED, name.lower())

    def regenerate(self, name: str, kind: KeyKind) -> str:
        """Replace one key and give the new one; the old one is refused from now on. KeyError without the account."""
        account = self._by_name[name.lower()]
        account.keys[kind] = self._new_key()
        account.generated[kind] = (
            datetime.fromtimestamp(self._world.now(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        )
        self._save(account)
        return account.keys[kind]

    def assign_data_role(self, name: str, principal_id: str, role: DataRole) -> None:
        """Give a principal (object id) a data-plane role over the account; again is no error."""
        account = self._by_name[name.lower()]
        assignment = DataRoleAssignment(principal_id, role)
        if assignment not in account.data_roles:
            account.data_roles.append(assignment)
            self._save(account)

    def _new_key(self) -> str:
        key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
        self._world.secrets.add("account_key", key)
        return key

    def _save(self, account: Account) -> None:
        self._world.storage.put(_STORED, account.name, json.dumps(asdict(account)))


def _parse(stored: dict[str, Any]) -> Account:
    roles = [DataRoleAssignment(**role) for role in stored.pop("data_roles")]
    return Account(**stored, data_roles=roles)
