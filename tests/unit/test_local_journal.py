"""The journal for people: entries by request, who is who, what was refused; colours only where they belong."""

import io
from typing import Any

import pytest

from infra.local.journal import Filter, Printer, by_request
from infra.local.screen import Screen, table

DAEMON, OTHER = "71b90000-0000-4000-8000-000000000001", "8c1e0000-0000-4000-8000-000000000002"
NAMES = {"bhacme": "acme", DAEMON: "acme"}


def entry(operation: str = "query", status: int = 200, request: str = "req_1", **more: Any) -> dict[str, Any]:
    return {
        "seq": 1, "time": "2026-11-24T10:00:00.123Z", "service": "cosmos", "operation": operation,
        "principal": "identity:bulkhead-data", "target": "bulkhead-registry/dbs/bulkhead/colls/tenants",
        "status": status, "correlation_id": request,
    } | more  # fmt: skip


STEPS = [
    entry(),
    entry("challenge", 401, service="key_vault", principal="anonymous", target="bulkhead-kv/daemon-acme"),
    entry("get_secret", service="key_vault", target="bulkhead-kv/daemon-acme"),
    entry("issue_token", service="entra", principal=f"app:{DAEMON}", target=f"{OTHER}/{DAEMON}"),
    entry(
        "list_keys", service="resource_manager", principal=f"app:{DAEMON}",
        target=f"/subscriptions/{OTHER}/resourceGroups/g/providers/Microsoft.DocumentDB/databaseAccounts/bhacme",
    ),
    entry("batch", principal="key:primary", target="bhacme/dbs/bulkhead/colls/access_log"),
]  # fmt: skip


def shown(*batches: list[dict[str, Any]]) -> list[str]:
    stream = io.StringIO()
    printer = Printer(Screen(stream))
    for batch in batches:
        printer.show(batch, NAMES)
    return stream.getvalue().splitlines()


def test_the_five_steps_of_a_request() -> None:
    _, heading, *lines = shown(STEPS)
    assert heading == "req_1  acme"
    assert [line.split()[1:4] for line in lines if line.split()[1][0].isdigit()] == [
        ["1", "reads", "credential"], ["2", "signs", "in"], ["3+4", "lists", "keys"], ["5", "uses", "the"],
    ]  # fmt: skip
    assert "daemon of acme" in lines[3]
    assert lines[4].endswith("200          Microsoft.DocumentDB/databaseAccounts/bhacme")
    assert lines[5].endswith("bhacme/access_log")
    assert "8c1e0000.." in lines[3]
    assert len({line.index("200") for line in lines if "200" in line}) == 1, "columns"


def test_what_was_refused_is_told() -> None:
    (line,) = shown([entry("list_keys", 403, service="resource_manager")])[2:]
    assert "403 refused" in line
    assert "refused" not in shown([STEPS[1]])[2], "a challenge asks for a token, and refuses nobody"
    assert "no answer" in shown([entry(status=0)])[2]
    assert "501 not played" in shown([entry(status=501)])[2]


def test_requests_at_the_same_time_stay_apart() -> None:
    mixed = [entry(request=name, operation=f"{name}{number}") for number in (1, 2) for name in ("a", "b")]
    grouped = [[one["operation"] for one in group] for group in by_request(mixed)]
    assert grouped == [["a1", "a2"], ["b1", "b2"]]


def test_entries_of_no_request_stay_where_they_are() -> None:
    entries = [entry(request=name) for name in ("", "", "a", "", "a", "b", "")]
    grouped = ["".join(one["correlation_id"] or "-" for one in group) for group in by_request(entries)]
    assert grouped == ["--", "aa", "-", "b", "-"]
    assert shown(entries)[1] == "(of no request)"


def test_a_request_that_goes_on_needs_no_second_heading() -> None:
    lines = shown([entry()], [entry()], [entry(request="req_2")], [entry()])
    assert [line for line in lines if line.startswith("req_")] == ["req_1", "req_2", "req_1"]


def test_what_is_wanted() -> None:
    refused, challenge = entry(status=403), STEPS[1]
    assert Filter().takes(challenge)
    assert [Filter(refused=True).takes(one) for one in (refused, challenge, entry(status=404))] == [True, False, False]
    assert [Filter(service="entra").takes(one) for one in STEPS] == [False, False, False, True, False, False]
    plumbing = [("put_token", 200), ("put_token", 401), ("accept_session", 408), ("accept_session", 200)]
    opened, *others = (entry(operation, status, service="service_bus") for operation, status in plumbing)
    assert [Filter().takes(one) for one in (opened, *others)] == [False, True, False, True]
    assert Filter(plumbing=True).takes(opened)
    assert Filter(after="2026-11-24T10:00:00.123").takes(entry())
    assert not Filter(after="2026-11-24T10:00:00.124000+00:00").takes(entry())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Screen(Terminal()).paint("x", "red") == "\033[31mx\033[0m"
    assert Screen(io.StringIO()).paint("x", "red") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen(Terminal()).paint("x", "red") == "x"
    monkeypatch.setenv("NO_COLOR", "")  # no-color.org: when present and not an empty string
    assert Screen(Terminal()).paint("x", "red") != "x"


def test_what_is_passing_is_for_terminals() -> None:
    stream, terminal = io.StringIO(), Terminal()
    for one in (stream, terminal):
        Screen(one).passing("3 of 5")
    assert stream.getvalue() == ""
    assert terminal.getvalue().endswith("3 of 5")


def test_columns_count_what_letters_take() -> None:
    assert table([("王小明", "a"), ("Zoe\u0308", "b")], indent=0) == ["王小明  a", "Zoe\u0308     b"]
