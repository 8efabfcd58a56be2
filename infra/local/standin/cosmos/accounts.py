"""Accounts of Azure Cosmos DB: their four keys and data-plane roles, shared by Resource Manager and the data plane.

Resource Manager creates and deletes accounts, lists and regenerates keys, and assigns data-plane roles here; the
data plane reads the keys in force at every request. A key that is regenerated is refused from that moment on.
"""

import base64
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from infra.local.standin.storage import Table
from infra.local.standin.wire import World

type KeyKind = Literal["primary", "secondary", "primaryReadonly", "secondaryReadonly"]
KEY_KINDS: tuple[KeyKind, ...] = ("primary", "secondary", "primaryReadonly", "secondaryReadonly")
READ_WRITE_KEYS: tuple[KeyKind, ...] = ("primary", "secondary")

_KEY_BYTES = 64


@dataclass(slots=True)
class Account:
    """One account. `generated` holds each key's RFC 3339 generation time, None for one never regenerated.

    `contributors` are principals (object ids) with the role Cosmos DB Built-in Data Contributor over the account;
    `key_metadata_writes_disabled` is the property disableKeyBasedMetadataWriteAccess: with it keys cannot create or
    delete databases and containers.
    """

    name: str
    resource_id: str
    directory_id: str
    keys: dict[KeyKind, str]
    local_auth_disabled: bool = False
    key_metadata_writes_disabled: bool = False
    generated: dict[KeyKind, str | None] = field(default_factory=lambda: dict.fromkeys(KEY_KINDS))
    contributors: list[str] = field(default_factory=list)

    def key_bytes(self, kind: KeyKind) -> bytes:
        """The key as the signature's HMAC uses it."""
        return base64.b64decode(self.keys[kind])


class Accounts:
    """All accounts of the stand-in, by name and by resource id. Both are compared without regard to case."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_name = Table(world.storage, "cosmos/accounts", Account)
        self._by_resource_id = {one.resource_id.lower(): one for one in self._by_name}

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
        if self.get(name):
            raise ValueError(f"The Cosmos DB account name {name} is taken.")
        keys = {kind: self._new_key() for kind in KEY_KINDS}
        account = Account(
            name.lower(), resource_id, directory_id, keys, local_auth_disabled, key_metadata_writes_disabled
        )
        self._by_resource_id[resource_id.lower()] = account
        self._by_name.put(account.name, account)
        return account

    def get(self, name: str) -> Account | None:
        """The account of that name."""
        return self._by_name.get(name.lower())

    def by_resource_id(self, resource_id: str) -> Account | None:
        """The account of that resource id."""
        return self._by_resource_id.get(resource_id.lower())

    def all(self) -> list[Account]:
        """Every account."""
        return list(self._by_name)

    def delete(self, name: str) -> None:
        """Remove the account; no error when it is not there. Its data is dropped by `CosmosService.drop_account`."""
        if account := self._by_name.remove(name.lower()):
            del self._by_resource_id[account.resource_id.lower()]

    def regenerate(self, name: str, kind: KeyKind) -> str:
        """Replace one key and give the new one; the old one is refused from now on. KeyError without the account."""
        account = self._existing(name)
        account.keys[kind] = self._new_key()
        moment = datetime.fromtimestamp(self._world.now(), UTC)
        account.generated[kind] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        self._by_name.put(account.name, account)
        return account.keys[kind]

    def add_contributor(self, name: str, principal_id: str) -> None:
        """Give a principal (object id) the role Cosmos DB Built-in Data Contributor over the account."""
        account = self._existing(name)
        account.contributors.append(principal_id)
        self._by_name.put(account.name, account)

    def _new_key(self) -> str:
        key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
        self._world.secrets.add("account_key", key)
        return key

    def _existing(self, name: str) -> Account:
        account = self.get(name)
        if account is None:
            raise KeyError(name)
        return account
