"""Databases, containers and items: kept in memory, written through to the world's storage.

Changes to a container are made inside `Container.unit()`: all of them happen, in memory and in storage, or none.
"""

import base64
import heapq
import itertools
import json
import secrets
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from infra.local.standin.cosmos.partitions import PHYSICAL_PARTITIONS, PartitionKey, PartitionKeyDefinition
from infra.local.standin.cosmos.throughput import Throughput
from infra.local.standin.wire import World

_DATABASES = "cosmos/databases"
_CONTAINERS = "cosmos/containers"
_ITEMS = "cosmos/items"


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


def new_etag() -> str:
    """A new ETag, quotation marks included."""
    return f'"{uuid.uuid4()}"'


class Container:
    """A container. `properties` is what reading it answers; `lsn` counts the writes of each physical partition."""

    def __init__(self, world: World, account: str, database: "Database", properties: dict[str, Any]) -> None:
        self.properties = properties
        self.id: str = properties["id"]
        self.rid: str = properties["_rid"]
        self.path = f"dbs/{database.id}/colls/{self.id}"
        self.partition_key = PartitionKeyDefinition(properties["partitionKey"])
        self.default_ttl: int | None = properties.get("defaultTtl")
        self._unique_keys = _unique_keys(properties)
        self._unique: dict[tuple[str, str], str] = {}  # (partition key, values of a unique key) -> id
        self.throughput = Throughput(world)
        self.lsn = [1 for _ in PHYSICAL_PARTITIONS]
        self._self_link: str = properties["_self"]
        self._world = world
        self.stored_as = f"{_ITEMS}/{account}/{database.id}/{self.id}"
        self._partitions: tuple[dict[str, dict[str, Item]], ...] = tuple({} for _ in PHYSICAL_PARTITIONS)
        self._undo: list[tuple[PartitionKey, str, Item | None]] = []
        self._next_number = 1
        self._due: list[tuple[float, int, Item]] = []  # a heap of items by expiry
        self._sequence = itertools.count()
        self._load()
        self._purge()

    def find(self, key: PartitionKey, item_id: str) -> Item | None:
        """The item, None when it is not there or has expired."""
        item = self._partitions[key.physical].get(key.text, {}).get(item_id)
        return next(iter(self._live([item])), None) if item is not None else None

    def in_logical_partition(self, key: PartitionKey) -> list[Item]:
        """The live items of one logical partition."""
        return self._live(self._partitions[key.physical].get(key.text, {}).values())

    def sharing_unique_key(self, key: PartitionKey, body: dict[str, Any]) -> Iterator[Item]:
        """The live items of a logical partition that have the values of `body` in one of the unique keys."""
        for entry in self._unique_entries(key, body):
            if (other := self._unique.get(entry)) is not None and (item := self.find(key, other)) is not None:
                yield item

    def in_physical_partition(self, index: int) -> list[Item]:
        """The live items of one physical partition."""
        return self._live(item for logical in self._partitions[index].values() for item in logical.values())

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Changes that happen together or not at all; must not span an await."""
        self._purge()
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
        now = self._world.now()
        rid = _item_rid(self.rid, number)
        full = {
            **body,
            "_rid": rid,
            "_self": f"{self._self_link}docs/{rid}/",
            "_etag": new_etag(),
            "_attachments": "attachments/",
            "_ts": int(now),
        }
        item = Item(full, to_json(full), key, number, self._expiry(full))
        self._change(key, item.id, item)
        self._note_expiry(item)
        self._world.storage.put(self.stored_as, f"{key.text}/{item.id}", item.text.decode())
        return item

    def remove(self, item: Item) -> None:
        """Delete an item. Only inside `unit`."""
        self._change(item.key, item.id, None)
        self._world.storage.delete(self.stored_as, f"{item.key.text}/{item.id}")

    def _change(self, key: PartitionKey, item_id: str, item: Item | None) -> None:
        self._undo.append((key, item_id, self._partitions[key.physical].get(key.text, {}).get(item_id)))
        self._place(key, item_id, item)
        self.lsn[key.physical] += 1

    def _place(self, key: PartitionKey, item_id: str, item: Item | None) -> None:
        logical = self._partitions[key.physical].setdefault(key.text, {})
        if previous := logical.pop(item_id, None):
            for entry in self._unique_entries(key, previous.body):
                self._unique.pop(entry, None)
        if item is not None:
            logical[item_id] = item
            self._unique |= dict.fromkeys(self._unique_entries(key, item.body), item_id)
        elif not logical:
            del self._partitions[key.physical][key.text]

    def _unique_entries(self, key: PartitionKey, body: dict[str, Any]) -> list[tuple[str, str]]:
        return [
            (key.text, f"{number}:{json.dumps([_value(body, path) for path in paths], sort_keys=True)}")
            for number, paths in enumerate(self._unique_keys)
        ]

    def _live(self, items: Iterable[Item]) -> list[Item]:
        now = self._world.now()
        return [item for item in items if item.expires is None or item.expires > now]

    def _expiry(self, body: dict[str, Any]) -> float | None:
        # learn.microsoft.com/azure/cosmos-db/time-to-live: an item's ttl counts only when the container has a
        # default; -1 never expires.
        if self.default_ttl is None:
            return None
        seconds = body.get("ttl", self.default_ttl)
        return None if seconds == -1 else float(body["_ts"]) + seconds

    def _note_expiry(self, item: Item) -> None:
        if item.expires is not None:
            heapq.heappush(self._due, (item.expires, next(self._sequence), item))

    def _purge(self) -> None:
        """Remove what has expired. Reads do not wait for it: `_live` hides expired items at once."""
        while self._due and self._due[0][0] <= self._world.now():
            _, _, item = heapq.heappop(self._due)
            if self._partitions[item.key.physical].get(item.key.text, {}).get(item.id) is item:
                self._place(item.key, item.id, None)
                self._world.storage.delete(self.stored_as, f"{item.key.text}/{item.id}")

    def _load(self) -> None:
        for _, text in self._world.storage.load(self.stored_as):
            body = json.loads(text)
            number = int.from_bytes(base64.b64decode(body["_rid"].replace("-", "/"))[8:])
            key = self.partition_key.of_item(body)
            item = Item(body, text.encode(), key, number, self._expiry(body))
            self._place(key, item.id, item)
            self._note_expiry(item)
            self._next_number = max(self._next_number, number + 1)
            self.lsn[key.physical] += 1


@dataclass(slots=True)
class Database:
    """A database and its containers."""

    id: str
    rid: str
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
        found: dict[str, Database] = {}
        for database_id, text in self._world.storage.load(f"{_DATABASES}/{account}"):
            properties = json.loads(text)
            found[database_id] = Database(database_id, properties["_rid"], properties)
        for place, text in self._world.storage.load(f"{_CONTAINERS}/{account}"):
            database = found[place.split("/")[0]]
            container = Container(self._world, account, database, json.loads(text))
            database.containers[container.id] = container
        return found

    def add_database(self, account: str, database_id: str) -> Database:
        """Create a database; the caller has checked that the id is free."""
        rid = _encode(secrets.token_bytes(4))
        properties = {
            "id": database_id,
            "_rid": rid,
            "_self": f"dbs/{rid}/",
            "_etag": new_etag(),
            "_colls": "colls/",
            "_users": "users/",
            "_ts": int(self._world.now()),
        }
        database = Database(database_id, rid, properties)
        self.databases(account)[database_id] = database
        self._world.storage.put(f"{_DATABASES}/{account}", database_id, json.dumps(properties))
        return database

    def add_container(self, account: str, database: Database, definition: dict[str, Any]) -> Container:
        """Create a container; the caller has checked that the id is free. Raises CosmosError for a bad definition."""
        raw = bytearray(base64.b64decode(database.rid.replace("-", "/")) + secrets.token_bytes(4))
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
            "_rid": rid,
            "_self": f"dbs/{database.rid}/colls/{rid}/",
            "_etag": new_etag(),
            "_docs": "docs/",
            "_sprocs": "sprocs/",
            "_triggers": "triggers/",
            "_udfs": "udfs/",
            "_conflicts": "conflicts/",
            "_ts": int(self._world.now()),
        }
        container = Container(self._world, account, database, properties)
        database.containers[container.id] = container
        self._world.storage.put(f"{_CONTAINERS}/{account}", f"{database.id}/{container.id}", json.dumps(properties))
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


def _unique_keys(properties: dict[str, Any]) -> list[list[tuple[str, ...]]]:
    keys = (properties.get("uniqueKeyPolicy") or {}).get("uniqueKeys") or []
    return [[tuple(path.strip("/").split("/")) for path in key["paths"]] for key in keys]


def _value(body: dict[str, Any], path: tuple[str, ...]) -> Any:
    # learn.microsoft.com/azure/cosmos-db/unique-keys: a missing value counts as null.
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _item_rid(container_rid: str, number: int) -> str:
    return _encode(base64.b64decode(container_rid.replace("-", "/")) + number.to_bytes(8))


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode().replace("/", "-")
