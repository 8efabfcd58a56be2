"""The command line without a stack: its help, its examples, and what it says of mistakes. Never a traceback."""

import argparse
import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from infra.local import cli, endpoints
from infra.local.cli import main, parser


def commands(of: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield inner
                yield from commands(inner)


COMMANDS = list(commands(parser()))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.prog.removeprefix(cli.PROGRAM).strip())
def test_help_with_an_example_that_can_be_said(
    command: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command.prog.removeprefix(cli.PROGRAM))
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out

    assert shown.startswith(f"usage: {command.prog}")
    (example,) = re.findall(rf"example:\n  {re.escape(cli.PROGRAM)} (.*)", shown)
    assert shlex.split(example)[: len(words)] == words
    options = parser().parse_args(shlex.split(example))
    assert isinstance(options.state, Path)
    assert options.json is False


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "COMMAND"), ("nonsense", "choose from 'up'"), ("token", "--tenant --publisher is required"),
        ("token --publisher --roles Reports.Raed", "there is no role Reports.Raed; there are Adjudications"),
        ("tenant", "VERB"), ("tenant deploy", "NAME"), ("rotate acme tertiary", "choose from 'primary'"),
        ("up --instances 0", "1 to 32"), ("up --base-port 80", "1024 to 65000"), ("up --lat azure", "--lat"),
        ("latency slow", "none of azure, none"), ("latency cosmos=fast", "a number"), ("latency moon=1", "services:"),
        ("faults --service moon", "choose from 'entra'"), ("faults --service graph --status 200", "400 to 599"),
        ("faults --service graph --probability 2", "0 to 1"), ("journal --since yesterday", "30s, 5m, 1h"),
        ("journal --service moon", "choose from 'entra'"), ("request --tenant acme", "--candidate"),
    ],
)  # fmt: skip
def test_a_line_that_is_wrong(line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage:")
    assert told in said
    assert re.search(r"More is told by: python -m infra\.local.* --help\n", said)


def test_a_fault_of_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faults", "--status", "503"]) == 2
    assert "--service" in capsys.readouterr().err


def test_since_is_a_number_or_a_time() -> None:
    for text, expected in (("17", 17), ("90s", timedelta(seconds=90)), ("5m", timedelta(minutes=5))):
        assert parser().parse_args(["journal", "--since", text]).since == expected


RUNNING = [
    "tenant deploy acme", "tenant register acme", "tenant delete acme", "token --publisher", "rotate acme primary",
    "request --tenant acme --candidate cand_x --package essential", "env", "latency", "faults", "journal",
    "journal --follow",
]  # fmt: skip


@pytest.mark.parametrize("line", RUNNING)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["people", "programs"])
def test_without_a_running_stack(
    line: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "none"
    assert main([*line.split(), *more, "--state", str(state)]) == 1
    assert capsys.readouterr() == ("", f"{endpoints.NotRunningError(state)}\n")
    assert not state.exists()


def test_the_usual_stack_is_started_with_make(tmp_path: Path) -> None:
    assert str(endpoints.NotRunningError(endpoints.DEFAULT_STATE)).endswith("Start one with: make up")
    assert f"up --state {tmp_path}" in str(endpoints.NotRunningError(tmp_path))


def test_a_stack_that_is_starting_is_told_from_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with endpoints.lock(tmp_path):
        assert main(["journal", "--state", str(tmp_path)]) == 1
    assert "starting or ending. Try again" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_state_directory_that_is_none(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    for state in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main([command, "--state", str(state)]) == 1
        said = capsys.readouterr().err
        assert str(tmp_path / "file") in said
        assert "Choose another directory with --state" in said
    assert (tmp_path / "file").read_text() == "x"


def test_a_demonstration_deletes_nothing_that_is_not_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--state", str(tmp_path)]) == 1
    assert "not deleted" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()


def test_a_stack_that_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after a crash of the stand-in, while its parent still holds the state."""
    nowhere = "http://127.0.0.1:1"
    found = endpoints.Endpoints(
        functions=nowhere, apps={}, stand_in=nowhere, ca_bundle="", proxy=nowhere,
        service_bus_connection_string="", env={},
    )  # fmt: skip
    with endpoints.lock(tmp_path):
        found.publish(tmp_path)
        for line in ("token --publisher", "journal --follow"):
            assert main([*line.split(), "--state", str(tmp_path)]) == 1
            said = capsys.readouterr().err
            assert "The stack does not answer" in said
            assert f"Look into {tmp_path / 'logs'}" in said
            assert "Traceback" not in said
