"""Durable state of the stand-in: every service keeps its objects in memory and writes each change through to here.

SQLite in WAL mode without fsync: a change survives a kill of the process at any moment (the pages are the
operating system's by then), which is what the stand-in promises. It does not promise to survive a power cut.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Storage:
    """A table of (kind, key) -> value. `kind` names a service's collection, such as `key_vault/secrets`."""

    def __init__(self, path: Path | None = None) -> None:
        """Open `path`, or keep everything in memory when there is none."""
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS objects (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))"
            " WITHOUT ROWID"
        )
        self._depth = 0

    def put(self, kind: str, key: str, value: str) -> None:
        """Store `value` (JSON text) under (kind, key), replacing what was there."""
        self._db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", (kind, key, value))

    def delete(self, kind: str, key: str) -> None:
        """Remove (kind, key); no error when it is not there."""
        self._db.execute("DELETE FROM objects WHERE kind = ? AND key = ?", (kind, key))

    def load(self, kind: str) -> list[tuple[str, str]]:
        """All (key, value) of one kind, in key order."""
        return self._db.execute("SELECT key, value FROM objects WHERE kind = ? ORDER BY key", (kind,)).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become durable together, or none does. May be nested; must not span an await."""
        if self._depth == 0:
            self._db.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
