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

PROJECT = Path(__file__).parents[2]


def run(*arguments: str, state: Path, code: int = 0) -> tuple[str, str]:
    """Run one command in a thread, which has no event loop of its own; gives stdout and stderr."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err, ThreadPoolExecutor(1) as thread:
        status = thread.submit(main, [*arguments, "--state", str(state)]).result(60)
    assert status == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def run_json(*arguments: str, state: Path) -> Any:
    return json.loads(run(*arguments, "--json", state=state)[0])


def test_stack_that_was_killed_is_not_running(tmp_path: Path, stack: Endpoints) -> None:
    stack.publish(tmp_path)

    assert "No stack is running" in run("token", "--publisher", state=tmp_path, code=1)[1]


def test_demonstration_spares_a_stack_that_runs(state: Path, stack: Endpoints) -> None:
    assert "running" in run("demo", state=state, code=1)[1]
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

        run("faults", "--service", "graph", "--retry-after", "3", state=state)
        rules = run_json("faults", "--service", "graph", "--drop", "answer", "--times", "2", state=state)["rules"]
        assert [(rule["status"], rule["drop"]) for rule in rules] == [(429, False), (None, "answer")]
    finally:
        assert run_json("faults", "--clear", state=state) == {"rules": []}
        assert set(run_json("latency", "none", state=state).values()) == {0}


def test_environment_for_a_shell(state: Path, stack: Endpoints) -> None:
    lines, _ = run("env", state=state)
    command = ["/bin/bash", "-euc", f'{lines}\nprintf %s "$ServiceBusConnection"']
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    assert done.stdout == stack.service_bus_connection_string
    assert run_json("env", state=state) == stack.env


@pytest.mark.asyncio(loop_scope="session")
async def test_queue_that_takes_nothing(lab: Lab, state: Path, acme: Company) -> None:
    order = ("request", "--tenant", acme.name, "--candidate", "x", "--package", "y")
    try:
        run("faults", "--service", "service_bus", "--target", "check-requests", "--status", "401", state=state)
        _, said = run(*order, state=state, code=1)
    finally:
        run("faults", "--clear", state=state)
    assert said.startswith("The queue check-requests takes no message (")
    assert said.endswith("-m infra.local faults\n")
    since = await lab.now()
    assert run(*order, state=state)[0].startswith("queue    check-requests\n")
    await lab.seen(since, service="service_bus", operation="complete", target="check-requests")


def test_registering_goes_on_where_it_failed(state: Path, stack: Endpoints) -> None:  # noqa: ARG001
    name = f"acme-{time.time_ns()}"
    run("tenant", "deploy", name, state=state)
    assert (
        "tenant register"
        in run("request", "--tenant", name, "--candidate", "x", "--package", "y", state=state, code=1)[1]
    )
    try:
        run("faults", "--service", "resource_manager", "--operation", "get_application", "--status", "403", state=state)
        assert "did not register the tenant: 4" in run("tenant", "register", name, state=state, code=1)[1]
    finally:
        run("faults", "--clear", state=state)
    registered = run_json("tenant", "register", name, state=state)
    assert f"registered already, as {registered['id']}" in run("tenant", "register", name, state=state, code=1)[1]

    run("tenant", "delete", name, state=state)
    run("tenant", "deploy", name, state=state)
    assert run_json("tenant", "register", name, state=state)["id"] != registered["id"]


@pytest.mark.asyncio(loop_scope="session")
async def test_journal_shows_the_steps_of_a_request(lab: Lab) -> None:
    company = await lab.company()
    since = await lab.now()
    reply = await company.call("GET", "/packages")
    shown, _ = run("journal", "--since", str(since), state=lab.state)

    _, _, mine = shown.partition(f"{reply.headers['X-Request-Id']}  {company.name}\n")
    lines = [line for line in mine.partition("\n\n")[0].splitlines() if "challenge" not in line]
    steps = [line.split()[1] for line in lines if line.split()[1][0].isdigit()]
    assert steps[:4] == ["1", "2", "3+4", "5"]
    assert "identity:bulkhead-data" in next(line for line in lines if "get_secret" in line)
    assert f"daemon of {company.name}" in next(line for line in lines if "list_keys" in line)
    assert "key:primaryReadonly" in lines[-1]


@pytest.mark.asyncio(loop_scope="session")
async def test_journal_of_one_service_and_of_refusals(lab: Lab) -> None:
    company = await lab.company()
    since = await lab.now()
    denied = {
        "service": "resource_manager",
        "operation": "list_keys",
        "target": company.account,
        "status": 403,
        "times": 1,
    }
    async with lab.weather(denied):
        assert (await company.call("GET", "/packages")).status == 503
    (refused,) = run("journal", "--since", str(since), "--refused", state=lab.state)[0].splitlines()[2:]
    assert "resource_manager list_keys" in refused
    assert "403 refused" in refused

    only, _ = run("journal", "--since", "1m", "--service", "entra", "--json", state=lab.state)
    assert {json.loads(line)["service"] for line in only.splitlines()} == {"entra"}
    assert "\033" not in only + refused


def test_journal_follows(state: Path, stack: Endpoints) -> None:  # noqa: ARG001 - the stack that is spoken to
    for option, first in (("--json", b'{"seq": 1,'), ("--service=entra", b"\n")):
        command = [sys.executable, "-m", "infra.local", "journal", "--follow", option, "--state", str(state)]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdout is not None
            assert process.stdout.readline().startswith(first)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=10)[1] == b""
            assert process.returncode == 130
