"""The stand-in's journal for people: who did what to which target, and whether it was refused."""

from typing import Any

from infra.local.screen import Colour, Screen

type Entry = dict[str, Any]

_STEPS = {
    ("key_vault", "get_secret"): "1",
    ("entra", "issue_token"): "2",
    ("resource_manager", "list_keys"): "3+4",
}
_BY_TOKEN = ("identity:", "app:")  # at Cosmos DB: the registry account, which knows no keys


def step(entry: Entry) -> str:
    """Which of the five steps of docs/architecture.md an entry is; empty for none."""
    found = _STEPS.get((entry["service"], entry["operation"]), "")
    if entry["service"] == "cosmos" and not entry["principal"].startswith(_BY_TOKEN):
        return "5"
    return found


def outcome(status: int) -> str:
    """An entry's status in words."""
    if status == 0:
        return "no answer"
    if status in (401, 403):
        return f"{status} refused"
    if status == 501:
        return f"{status} not played"
    return f"{status}"


def colour(status: int) -> Colour:
    """How good that is."""
    if status in (0, 401, 403) or status >= 500:
        return "red"
    return "yellow" if status >= 400 else "green"


def clock(entry: Entry) -> str:
    """The time of day."""
    return str(entry["time"])[11:23]


def target(entry: Entry) -> str:
    """The target, without what is the same for all of its kind."""
    text = str(entry["target"])
    if entry["service"] == "resource_manager" and "/providers/" in text:
        return text.rpartition("/providers/")[2]
    return text.replace("/dbs/bulkhead/colls/", "/")


def line(entry: Entry, screen: Screen) -> str:
    """One entry as one line."""
    number = step(entry)
    return "  ".join([
        screen.paint(clock(entry), "dim"),
        screen.paint(number.rjust(3), "bold", "blue"),
        str(entry["principal"]).ljust(40),
        f"{entry['service']} {entry['operation']}".ljust(36),
        screen.paint(outcome(entry["status"]).ljust(13), colour(entry["status"])),
        target(entry),
        screen.paint(entry["correlation_id"], "dim"),
    ]).rstrip()  # fmt: skip


HEADING = "  ".join([
    "time (UTC)  ", "step", "who".ljust(39), "did what".ljust(36), "answer".ljust(13), "to which target, request",
])  # fmt: skip
