"""Looks for secrets, and for personal data, where neither may be: logs, messages, stored items, answers."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_SHORTEST = 8  # characters; a shorter value would be found everywhere by chance


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that was found where it must not be. Tells what kind and where, not the value."""

    kind: str
    place: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan went through and found."""

    texts: int
    bytes: int
    leaks: tuple[Leak, ...]


def scan(texts: Iterable[tuple[str, str]], forbidden: Iterable[tuple[str, str]]) -> Scanned:
    """Look for every (kind, value) of `forbidden` in every (place, text)."""
    needles = [(kind, piece) for kind, value in forbidden for piece in _pieces(value)]
    leaks: list[Leak] = []
    count = size = 0
    for place, text in texts:
        count += 1
        size += len(text)
        leaks += [Leak(kind, place) for kind, needle in needles if needle in text]
    return Scanned(count, size, tuple(leaks))


def logs(state: Path) -> Iterator[tuple[str, str]]:
    """Every log file of the stack."""
    for path in sorted((state / "logs").glob("*.log")):
        yield f"log {path.name}", path.read_text(errors="replace")


def stored_items(state: Path, *, account: str | None = None) -> Iterator[tuple[str, str]]:
    """Every item in the stand-in's Cosmos DB accounts, or in one account."""
    prefix = "cosmos/items/" + (f"{account}/" if account else "")
    yield from _objects(state, prefix, "item")


def waiting_messages(state: Path) -> Iterator[tuple[str, str]]:
    """Every message that the stand-in's Service Bus holds now."""
    yield from _objects(state, "service_bus/messages", "message")


def _objects(state: Path, prefix: str, noun: str) -> Iterator[tuple[str, str]]:
    database = sqlite3.connect(f"file:{state / 'state.db'}?mode=ro", uri=True)
    try:
        rows = database.execute(
            "SELECT kind, key, value FROM objects WHERE kind >= ? AND kind < ?", (prefix, prefix + "~")
        )
        for kind, key, value in rows:
            yield f"{noun} {kind}/{key}", value
    finally:
        database.close()


def _pieces(value: str) -> list[str]:
    """What to look for. A PEM is looked for line by line, since its line breaks may be written otherwise."""
    if value.startswith("-----BEGIN"):
        return [line for line in value.splitlines() if len(line) >= 40 and not line.startswith("-----")]
    return [value] if len(value) >= _SHORTEST else []
