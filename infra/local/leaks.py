"""Looks for secrets, and for personal data, where neither may be: logs, messages, stored items, answers."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

type Pairs = Iterable[tuple[str, str]]

_SHORTEST = 8  # characters of a secret; a shorter value would be found everywhere by chance
_SHORTEST_PERSONAL = 5


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


def scan(texts: Pairs, forbidden: Pairs) -> Scanned:
    """Look for every (kind, value) of `forbidden` in every (place, text)."""
    needles = set(forbidden)
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


def secrets(issued: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """What to look for, from what `GET /secrets` gives."""
    for secret in issued:
        for piece in _pieces(secret["value"]):
            yield from ((secret["kind"], spelling) for spelling in _spellings(piece))


def personal_data(candidate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What to look for of a candidate as `POST /candidates` takes one."""
    ssn = candidate.get("ssn", "")
    values = {
        "name": [candidate["first_name"], candidate["last_name"], *candidate.get("other_names", ())],
        "ssn": [ssn, ssn.replace("-", "")],
        "email": [candidate.get("email", "")],
        "phone": [candidate.get("phone", "")],
        "address": [(candidate.get("address") or {}).get("street", "")],
    }
    for kind, found in values.items():
        for value in found:
            if len(value) >= _SHORTEST_PERSONAL:
                yield from ((kind, spelling) for spelling in _spellings(value))


def stored_items(state: Path, *, account: str | None = None) -> Iterator[tuple[str, str]]:
    """Every item in the stand-in's Cosmos DB accounts, or in one account."""
    prefix = "cosmos/items/" + (f"{account}/" if account else "")
    of_kind = "SELECT kind, key, value FROM objects WHERE kind >= ? AND kind < ?"
    with contextlib.closing(sqlite3.connect(f"file:{state / 'state.db'}?mode=ro", uri=True)) as database:
        for kind, key, value in database.execute(of_kind, (prefix, prefix + "~")):
            yield f"item {kind}/{key}", value


def _pieces(value: str) -> list[str]:
    """What to look for. A PEM is looked for line by line, since its line breaks may be written otherwise."""
    if value.startswith("-----BEGIN"):
        return [line for line in value.splitlines() if len(line) >= 40 and not line.startswith("-----")]
    return [value] if len(value) >= _SHORTEST else []


def _spellings(value: str) -> set[str]:
    """As it is, as in a URL, as in JSON of ASCII letters only."""
    return {value, quote(value, safe=""), json.dumps(value)[1:-1]}
