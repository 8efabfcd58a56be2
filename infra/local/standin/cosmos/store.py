"""Databases, containers and items: kept in memory, written through to the world's storage.

Changes to a container are made inside `Container.unit()`: all of them happen, in memory and in storage, or none.
"""

import base64
import json
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from infra.local.standin.cosmos.errors import bad_request
from infra.local.standin.cosmos.partitions import RANGES, PartitionKey, PartitionKeyDefinition, value_at
from infra.local.standin.cosmos.throughput import Throughput
from infra.local.standin.wire import World

_DATABASES = "cosmos/databases"
_CONTAINERS = "cosmos/containers"
_ITEMS = "cosmos/items"
_LONGEST_TTL = 2**31 - 1  # seconds: learn.microsoft.com/azure/cosmos-db/concepts-limits


@dataclass(slots=True, frozen=True)
class Item:
    """A stored item: `body` with system properties, `text` the same as JSON, `number` its place in the container."""

    body: dict[str, Any]
    text: bytes
    key: PartitionKey
    number: int
    expires: float | None  # seconds since the epoch

    @property
    def id(self) -> str:
        """Unique in its logical partition."""
        return str(self.body["id"])

    @property
    def etag(self) -> str:
        """With its quotation marks, as in the header."""
        return str(self.body["_etag"])


def to_json(value: Any) -> bytes:
    """Compact JSON in UTF-8, as the service sends it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def check_ttl(ttl: Any) -> None:
    """Raise CosmosError 400 for what is no time to live, of an item or as a container's default."""
    known = type(ttl) is int and (ttl == -1 or 1 <= ttl <= _LONGEST_TTL)
    if ttl is not None and not known:
        raise bad_request(f"The input ttl '{ttl}' is invalid. Ensure to provide a nonzero positive integer or -1.")


class Container:
    """A container. `properties` is what reading it answers; `lsn` counts the writes of each physical partition.

    What has expired is hidden from then on, and gone for good when it is written over or at the next start.
    """

    def __init__(self, world: World, account: str, database_id: str, properties: dict[str, Any]) -> None:
        self.properties = properties
        self.rid: str = properties["_rid"]
        self.path = f"dbs/{database_id}/colls/{properties['id']}"
        self.partition_key = PartitionKeyDefinition(properties["partitionKey"])
        self.throughput = Throughput(world)
        self.lsn = [1 for _ in RANGES]
        self.stored_as = f"{_ITEMS}/{account}/{database_id}/{properties['id']}"
        self._world = world
        self._default_ttl: int | None = properties.get("defaultTtl")
        self._unique_keys = _unique_keys(properties)
        self._unique: dict[tuple[str, str], str] = {}  # (partition key, values of a unique key) -> id
        self._items: dict[PartitionKey, dict[str, Item]] = {}
        self._undo: list[tuple[PartitionKey, str, Item | None]] = []
        self._next_number = 1
        self._load()

    def find(self, key: PartitionKey, item_id: str) -> Item | None:
        """The item, None when it is not there or has expired."""
        item = self._items.get(key, {}).get(item_id)
        return item if item is not None and self._is_live(item) else None

    def in_logical_partition(self, key: PartitionKey) -> list[Item]:
        """The live items of one logical partition."""
        return list(filter(self._is_live, self._items.get(key, {}).values()))

    def in_physical_partition(self, index: int | None) -> list[Item]:
        """The live items of one physical partition, or of all."""
        held = [logical for key, logical in self._items.items() if index in (None, key.physical)]
        return [item for logical in held for item in logical.values() if self._is_live(item)]

    def is_taken(self, key: PartitionKey, body: dict[str, Any]) -> bool:
        """Whether another live item of the logical partition has the values of `body` in one of the unique keys."""
        others = {self._unique.get(entry, body["id"]) for entry in self._unique_entries(key, body)} - {body["id"]}
        return any(self.find(key, other) for other in others)

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Changes that happen together or not at all; must not span an await."""
        self._undo.clear()
        try:
            with self._world.storage.transaction():
                yield
        except BaseException:
            for key, item_id, previous in reversed(self._undo):
                self._place(key, item_id, previous)
            raise

    def write(self, body: dict[str, Any], key: PartitionKey, previous: Item | None) -> Item:
        """Store a body without system properties in place of `previous`, or as a new item. Only inside `unit`."""
        number = previous.number if previous else self._next_number
        self._next_number = max(self._next_number, number + 1)
        rid = _encode(_decode(self.rid) + number.to_bytes(8))
        link = f"{self.properties['_self']}docs/{rid}/"
        full = {**body, **_system_properties(self._world, rid, link), "_attachments": "attachments/"}
        item = Item(full, to_json(full), key, number, self._expiry(full))
        self._change(key, item.id, item)
        self._world.storage.put(self.stored_as, f"{key.text}/{item.id}", item.text.decode())
        return item

    def remove(self, item: Item) -> None:
        """Delete an item. Only inside `unit`."""
        self._change(item.key, item.id, None)
        self._world.storage.delete(self.stored_as, f"{item.key.text}/{item.id}")

    def _change(self, key: PartitionKey, item_id: str, item: Item | None) -> None:
        self._undo.append((key, item_id, self._items.get(key, {}).get(item_id)))
        self._place(key, item_id, item)
        self.lsn[key.physical] += 1

    def _place(self, key: PartitionKey, item_id: str, item: Item | None) -> None:
        logical = self._items.setdefault(key, {})
        if previous := logical.pop(item_id, None):
            for entry in self._unique_entries(key, previous.body):
                if self._unique.get(entry) == item_id:  # and not another's, since this one had expired
                    del self._unique[entry]
        if item is not None:
            logical[item_id] = item
            self._unique |= dict.fromkeys(self._unique_entries(key, item.body), item_id)
        elif not logical:
            del self._items[key]

    def _unique_entries(self, key: PartitionKey, body: dict[str, Any]) -> list[tuple[str, str]]:
        # learn.microsoft.com/azure/cosmos-db/unique-keys: a missing value counts as null.
        return [
            (key.text, f"{number}:{json.dumps([value_at(body, path, None) for path in paths], sort_keys=True)}")
            for number, paths in enumerate(self._unique_keys)
        ]

    def _is_live(self, item: Item) -> bool:
        return item.expires is None or item.expires > self._world.now()

    def _expiry(self, body: dict[str, Any]) -> float | None:
        # learn.microsoft.com/azure/cosmos-db/time-to-live: an item's ttl counts only when the container has a
        # default; -1 never expires.
        if self._default_ttl is None:
            return None
        seconds = body.get("ttl") or self._default_ttl
        return None if seconds == -1 else float(body["_ts"]) + seconds

    def _load(self) -> None:
        for place, text in self._world.storage.load(self.stored_as):
            body = json.loads(text)
            number = int.from_bytes(_decode(body["_rid"])[8:])
            item = Item(body, text.encode(), self.partition_key.of_item(body), number, self._expiry(body))
            self._next_number = max(self._next_number, number + 1)
            self.lsn[item.key.physical] += 1
            if self._is_live(item):
                self._place(item.key, item.id, item)
            else:
                self._world.storage.delete(self.stored_as, place)


@dataclass(slots=True)
class Database:
    """A database and its containers."""

    properties: dict[str, Any]
    containers: dict[str, Container] = field(default_factory=dict)


class Store:
    """All databases of all accounts. An account is read from storage when it is first asked for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._accounts: dict[str, dict[str, Database]] = {}

    def databases(self, account: str) -> dict[str, Database]:
        """The account's databases by id."""
        if account not in self._accounts:
            self._accounts[account] = self._load(account)
        return self._accounts[account]

    def _load(self, account: str) -> dict[str, Database]:
        stored = self._world.storage.load(f"{_DATABASES}/{account}")
        found = {database_id: Database(json.loads(text)) for database_id, text in stored}
        for place, text in self._world.storage.load(f"{_CONTAINERS}/{account}"):
            database_id, container_id = place.split("/")
            container = Container(self._world, account, database_id, json.loads(text))
            found[database_id].containers[container_id] = container
        return found

    def add_database(self, account: str, database_id: str) -> Database:
        """Create a database; the caller has checked that the id is free."""
        rid = _encode(secrets.token_bytes(4))
        properties = {"id": database_id, **_system_properties(self._world, rid, f"dbs/{rid}/")}
        properties |= {"_colls": "colls/", "_users": "users/"}
        database = self.databases(account)[database_id] = Database(properties)
        self._world.storage.put(f"{_DATABASES}/{account}", database_id, json.dumps(properties))
        return database

    def add_container(self, account: str, database: Database, definition: dict[str, Any]) -> Container:
        """Create a container; the caller has checked that the id is free. Raises CosmosError for a bad definition."""
        check_ttl(definition.get("defaultTtl"))
        database_id, database_rid = database.properties["id"], database.properties["_rid"]
        raw = bytearray(_decode(database_rid) + secrets.token_bytes(4))
        raw[4] |= 0x80  # the mark of a container's id
        rid = _encode(bytes(raw))
        properties = {
            "indexingPolicy": {
                "indexingMode": "consistent",
                "automatic": True,
                "includedPaths": [{"path": "/*"}],
                "excludedPaths": [{"path": '/"_etag"/?'}],
            },
            "conflictResolutionPolicy": {"mode": "LastWriterWins", "conflictResolutionPath": "/_ts"},
            **definition,
            **_system_properties(self._world, rid, f"dbs/{database_rid}/colls/{rid}/"),
            **{f"_{kind}": f"{kind}/" for kind in ("docs", "sprocs", "triggers", "udfs", "conflicts")},
        }
        container = Container(self._world, account, database_id, properties)
        database.containers[properties["id"]] = container
        place = f"{database_id}/{properties['id']}"
        self._world.storage.put(f"{_CONTAINERS}/{account}", place, json.dumps(properties))
        return container

    def drop_account(self, account: str) -> None:
        """Delete everything that the account holds."""
        storage = self._world.storage
        with storage.transaction():
            for database in self.databases(account).values():
                for container in database.containers.values():
                    storage.clear(container.stored_as)
            storage.clear(f"{_CONTAINERS}/{account}")
            storage.clear(f"{_DATABASES}/{account}")
        del self._accounts[account]


def _system_properties(world: World, rid: str, link: str) -> dict[str, Any]:
    return {"_rid": rid, "_self": link, "_etag": f'"{uuid.uuid4()}"', "_ts": int(world.now())}


def _unique_keys(properties: dict[str, Any]) -> list[list[list[str]]]:
    keys = (properties.get("uniqueKeyPolicy") or {}).get("uniqueKeys") or []
    return [[path.strip("/").split("/") for path in key["paths"]] for key in keys]


def _decode(rid: str) -> bytes:
    return base64.b64decode(rid, altchars=b"+-")


def _encode(rid: bytes) -> str:
    return base64.b64encode(rid, altchars=b"+-").decode()
