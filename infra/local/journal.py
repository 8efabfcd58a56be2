"""The stand-in's journal for people: who did what to which target, and whether it was refused, request by request."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.screen import Colour, Screen

type Entry = dict[str, Any]

STEPS: Mapping[str, str] = {"1": "reads credential", "2": "signs in", "3+4": "lists keys", "5": "uses the key"}
"""The five steps of docs/architecture.md in short."""

_STEP_OF = {
    ("key_vault", "get_secret"): "1",
    ("entra", "issue_token"): "2",
    ("resource_manager", "list_keys"): "3+4",
}
_GUID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_PLUMBING = {(name, 200) for name in ("put_token", "open_sender", "open_receiver", "open_management")}
_PLUMBING |= {("accept_session", 408)}  # no session came while somebody waited for one
"""Of Service Bus's connections: dozens with every process, and none of them touches a message."""
_BY_TOKEN = ("identity:", "app:")  # at Cosmos DB: the registry account, which knows no keys


def step(entry: Entry) -> str:
    """Which of the five steps of docs/architecture.md an entry is; empty for none."""
    found = _STEP_OF.get((entry["service"], entry["operation"]), "")
    if entry["service"] == "cosmos" and not entry["principal"].startswith(_BY_TOKEN):
        return "5"
    return found


def is_refused(entry: Entry) -> bool:
    """Whether somebody was not let. Key Vault's challenge is no refusal: so its clients learn where to get a token."""
    return entry["status"] in (401, 403) and entry["operation"] != "challenge"


def outcome(entry: Entry) -> str:
    """An entry's status in words."""
    status = entry["status"]
    if status == 0:
        return "no answer"
    if is_refused(entry):
        return f"{status} refused"
    if status == 501:
        return f"{status} not played"
    return f"{status}"


def colour(entry: Entry) -> Colour:
    """How good that is."""
    if is_refused(entry) or entry["status"] == 0 or entry["status"] >= 500:
        return "red"
    return "yellow" if entry["status"] >= 400 else "green"


def clock(entry: Entry) -> str:
    """The time of day."""
    return str(entry["time"])[11:23]


def target(entry: Entry) -> str:
    """The target, without what is the same for all of its kind."""
    text = str(entry["target"])
    if entry["service"] == "resource_manager" and "/providers/" in text:
        return text.rpartition("/providers/")[2]
    return text.replace("/dbs/bulkhead/colls/", "/")


def named(text: str, names: Mapping[str, str]) -> str:
    """`text` with daemons named (`Client.names`), and other GUIDs shortened."""
    return _GUID.sub(lambda found: f"daemon of {names[found[0]]}" if found[0] in names else f"{found[1]}..", text)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are wanted: of one service, only refusals, not before a moment (as the journal writes it).

    Service Bus's plumbing is left out unless it is asked for, or fails.
    """

    service: str | None = None
    refused: bool = False
    after: str = ""
    plumbing: bool = False

    def takes(self, entry: Entry) -> bool:
        """Whether this one is."""
        return (
            self.service in (None, entry["service"])
            and (is_refused(entry) or not self.refused)
            and str(entry["time"]) >= self.after
            and (self.plumbing or (entry["operation"], entry["status"]) not in _PLUMBING)
        )


def by_request(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Entries of one correlation id together, where its first one came; those without one stay where they are."""
    found: list[list[Entry]] = []
    places: dict[str, int] = {}
    for entry in entries:
        request = entry["correlation_id"]
        place = places.get(request)
        if place is None or (not request and place < len(found) - 1):
            places[request] = len(found)
            found.append([entry])
        else:
            found[place].append(entry)
    return found


@dataclass(slots=True)
class Printer:
    """Shows entries under a heading for each request."""

    screen: Screen
    _names: Mapping[str, str] = field(default_factory=dict)
    _shown: str | None = None  # the request whose lines came last

    def show(self, entries: Iterable[Entry], names: Mapping[str, str]) -> None:
        """Show what came next. `names` tells whose an account or a daemon is (`Client.names`)."""
        self._names = names
        for group in by_request(entries):
            if (request := group[0]["correlation_id"]) != self._shown:
                self.screen.line()
                self.screen.line(self._heading(request, group), "bold")
                self._shown = request
            for entry in group:
                self.screen.line(self._line(entry))

    def _heading(self, request: str, group: list[Entry]) -> str:
        owners = sorted({self._names[key] for key in self._names if any(_is_of(entry, key) for entry in group)})
        return "  ".join([request or "(of no request)", *owners])

    def _line(self, entry: Entry) -> str:
        number, paint = step(entry), self.screen.paint
        return "  ".join([
            paint(f"  {clock(entry)}", "dim"),
            paint(f"{number:>3} {STEPS.get(number, ''):16}", "blue"),
            f"{named(entry['principal'].removeprefix('app:'), self._names):26}",
            f"{entry['service']} {entry['operation']}".ljust(32),
            paint(f"{outcome(entry):11}", colour(entry)),
            named(target(entry), self._names),
        ]).rstrip()  # fmt: skip


def _is_of(entry: Entry, key: str) -> bool:
    return key in entry["target"] or entry["principal"] == f"app:{key}"
