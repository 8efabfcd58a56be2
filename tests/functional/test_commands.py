"""The command line against a running stack: what it prints, for people and for programs, and its exit codes."""

import io
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from infra.local import endpoints
from infra.local.cli import main
from infra.local.company import Company
from infra.local.endpoints import Endpoints
from infra.local.lab import Lab
from infra.local.stack import Ports, choose_ports

PROJECT = Path(__file__).parents[2]
COMMANDS = ("up", "demo", "tenant", "token", "request", "rotate", "latency", "faults", "journal")


def run(*arguments: str, state: Path, code: int = 0) -> tuple[str, str]:
    """Run one command in a thread, which has no event loop of its own; gives stdout and stderr."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err, ThreadPoolExecutor(1) as thread:
        status = thread.submit(main, [*arguments, "--state", str(state)]).result(60)
    assert status == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def run_json(*arguments: str, state: Path) -> Any:
    return json.loads(run(*arguments, "--json", state=state)[0])


def test_help_is_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*command: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*command, "--help"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert all(command in shown() for command in COMMANDS)
    for command in (*((name,) for name in COMMANDS), *(("tenant", verb) for verb in ("deploy", "register", "delete"))):
        assert shown(*command).startswith("usage: python -m infra.local " + " ".join(command))


def test_command_line_that_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["nonsense"], ["token"], ["rotate", "acme", "tertiary"], ["up", "--instances", "0"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert "usage:" in capsys.readouterr().err


def test_without_a_running_stack(tmp_path: Path) -> None:
    for command in (("token", "--publisher"), ("journal",), ("tenant", "deploy", "acme")):
        _, said = run(*command, state=tmp_path, code=1)
        assert "Start one with: make up" in said


def test_stack_that_was_killed_is_not_running(tmp_path: Path, stack: Endpoints) -> None:
    stack.publish(tmp_path)

    assert "Start one with: make up" in run("token", "--publisher", state=tmp_path, code=1)[1]


def test_second_stack_over_the_same_state(state: Path, stack: Endpoints) -> None:
    command = [sys.executable, "-m", "infra.local", "up", "--state", str(state)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603

    assert done.returncode == 1
    assert "running with the state directory" in done.stderr
    assert "Traceback" not in done.stderr
    assert endpoints.load(state) == stack


def test_demonstration_spares_what_is_not_its_own(tmp_path: Path, state: Path, stack: Endpoints) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    assert "not deleted" in run("demo", state=tmp_path, code=1)[1]
    assert "running" in run("demo", state=state, code=1)[1]
    assert (tmp_path / "thesis.txt").exists()
    assert endpoints.load(state) == stack


def test_life_of_a_tenant(state: Path, stack: Endpoints) -> None:  # noqa: ARG001 - the stack that is spoken to
    name = f"acme-{time.time_ns()}"
    deployed = run_json("tenant", "deploy", name, state=state)
    assert deployed["name"] == name
    assert "deployed already" in run("tenant", "deploy", name, state=state, code=1)[1]
    registered = run_json("tenant", "register", name, "--credential", "certificate", state=state)
    assert (registered["credential"], registered["status"]) == ("certificate", "active")

    token, _ = run("token", "--tenant", name, "--roles", "Reports.Read", state=state)
    assert token.count(".") == 2
    assert token.startswith("ey")
    rotated = run_json("rotate", name, "secondary", state=state)
    assert rotated == {"account": deployed["cosmos_account"], "key_kind": "secondary"}

    assert run_json("tenant", "delete", name, state=state)["deleted"]
    for command in (("tenant", "delete", name), ("rotate", name, "primary"), ("token", "--tenant", name)):
        assert f"'{name}'" in run(*command, state=state, code=1)[1]


def test_weather(state: Path, stack: Endpoints) -> None:  # noqa: ARG001 - the stack that is spoken to
    try:
        assert run_json("latency", "azure", state=state)["resource_manager"] == 120
        assert run_json("latency", "key_vault=7", state=state) == run_json("latency", state=state)
        assert "key_vault         7 ms" in run("latency", state=state)[0]
        assert "none of azure" in run("latency", "slow", state=state, code=1)[1]

        run("faults", "--service", "graph", "--retry-after", "3", state=state)
        rules = run_json("faults", "--service", "graph", "--drop", "answer", "--times", "2", state=state)["rules"]
        assert [(rule["status"], rule["drop"]) for rule in rules] == [(429, False), (None, "answer")]
        assert "needs --service" in run("faults", "--status", "500", state=state, code=1)[1]
        assert "moon" in run("faults", "--service", "moon", state=state, code=1)[1]
    finally:
        assert run_json("faults", "--clear", state=state) == {"rules": []}
        assert set(run_json("latency", "none", state=state).values()) == {0}


@pytest.mark.asyncio(loop_scope="session")
async def test_journal_shows_the_steps(lab: Lab, acme: Company) -> None:
    since = await lab.now()
    await acme.must("GET", "/packages")
    shown, _ = run("journal", "--since", str(since), state=lab.state)

    lines = [line for line in shown.splitlines() if acme.name in line or acme.account in line]
    assert [line.split()[1] for line in lines if "challenge" not in line][:3] == ["1", "3+4", "5"]
    assert "identity:bulkhead-data" in lines[0]
    assert "key:primaryReadonly" in lines[-1]


def test_journal_follows(state: Path, stack: Endpoints) -> None:  # noqa: ARG001 - the stack that is spoken to
    command = [sys.executable, "-m", "infra.local", "journal", "--follow", "--json", "--state", str(state)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        entries = [json.loads(process.stdout.readline()) for _ in range(5)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(10) == 130
    assert [entry["seq"] for entry in entries] == [1, 2, 3, 4, 5]


def test_ports_are_the_ones_asked_for(tmp_path: Path) -> None:
    """Two processes behind one front door, ended by Ctrl-C; the state is taken up by the next stack."""
    first = choose_ports(2).first
    for instances in (2, 1):
        ports = Ports(first, instances)
        command = [sys.executable, "-m", "infra.local", "up", "--state", str(tmp_path), "--json"]
        command += ["--base-port", str(ports.first), "--instances", str(instances)]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            assert process.stdout is not None
            found = json.loads(process.stdout.readline())
            assert found["functions"] == f"http://127.0.0.1:{ports.first}"
            processes = [f"http://127.0.0.1:{ports.instance(number)}" for number in range(instances)]
            assert found["apps"] == {"data": processes, "control": processes}
            assert found["env"]["BULKHEAD_INSTANCES_AT_MOST"] == str(instances)
            assert found.keys() == {
                "functions", "apps", "stand_in", "ca_bundle", "proxy", "service_bus_connection_string", "env",
            }  # fmt: skip
            _, said = run("tenant", "deploy", "kept", state=tmp_path, code=0 if instances == 2 else 1)
            assert ("deployed already" in said) == (instances == 1)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        assert not (tmp_path / "endpoints.json").exists()
