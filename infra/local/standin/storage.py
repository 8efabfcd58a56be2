"""Durable state of the stand-in: every service keeps its objects in memory and writes each change through to here.

SQLite in WAL mode without fsync: a change survives a kill of the process at any moment (the pages are the
operating system's by then), which is what the stand-in promises. It does not promise to survive a power cut.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

_FORMAT = 3  # to be raised when what is stored changes its form


class Storage:
    """A table of (kind, key) -> value. `kind` names a service's collection, such as `key_vault/secrets`."""

    def __init__(self, path: Path | None = None) -> None:
        """Open `path`, or keep all in memory when there is none. Raises ValueError for a file of another form."""
        is_new = path is None or not path.exists()
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS objects (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))"
            " WITHOUT ROWID"
        )
        if is_new:
            self._db.execute(f"PRAGMA user_version={_FORMAT}")
        elif self._db.execute("PRAGMA user_version").fetchone() != (_FORMAT,):
            self._db.close()
            raise ValueError(f"{path} is of another version of the stand-in; remove it to start anew.")

    def put(self, kind: str, key: str, value: str) -> None:
        """Store `value` (JSON text) under (kind, key), replacing what was there."""
        self._db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", (kind, key, value))

    def delete(self, kind: str, key: str) -> None:
        """Remove (kind, key); no error when it is not there."""
        self._db.execute("DELETE FROM objects WHERE kind = ? AND key = ?", (kind, key))

    def clear(self, kind: str) -> None:
        """Remove everything of one kind."""
        self._db.execute("DELETE FROM objects WHERE kind = ?", (kind,))

    def kept(self, kind: str, key: str, make: Callable[[], str]) -> str:
        """The value of (kind, key), which is made and stored when it is asked for first."""
        found = self._db.execute("SELECT value FROM objects WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        if found is None:
            self.put(kind, key, made := make())
            return made
        return str(found[0])

    def load(self, kind: str) -> list[tuple[str, str]]:
        """All (key, value) of one kind, in key order."""
        return self._db.execute("SELECT key, value FROM objects WHERE kind = ? ORDER BY key", (kind,)).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become durable together, or none does. May be nested; must not span an await."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:  # commits, or rolls back on an error
            yield

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Table[T]:
    """Objects of one kind by key: read from memory, every change written through. Whoever changes one puts it again."""

    def __init__(self, storage: Storage, kind: str, stored: type[T]) -> None:
        """`stored` is the dataclass of the objects."""
        self._storage = storage
        self._kind = kind
        decoder = msgspec.json.Decoder(stored)
        self._objects = {key: decoder.decode(text) for key, text in storage.load(kind)}

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._objects.values()))

    def __getitem__(self, key: str) -> T:
        return self._objects[key]

    def get(self, key: str) -> T | None:
        """The object, None when it is not there."""
        return self._objects.get(key)

    def put(self, key: str, value: T) -> None:
        """Add or replace an object."""
        self._objects[key] = value
        self._storage.put(self._kind, key, msgspec.json.encode(value).decode())

    def remove(self, key: str) -> T | None:
        """Remove an object and give it; None when it is not there."""
        if (value := self._objects.pop(key, None)) is not None:
            self._storage.delete(self._kind, key)
        return value
