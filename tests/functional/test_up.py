"""`make up`: what it shows, that what it shows works, how it ends, and what it says when it cannot start."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local import endpoints
from infra.local.endpoints import Endpoints
from infra.local.stack import Ports, choose_ports

PROJECT = Path(__file__).parents[2]
UP = [sys.executable, "-m", "infra.local", "up"]


def refused(*arguments: str) -> str:
    """What a stack says that cannot start."""
    done = subprocess.run([*UP, *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr


@contextmanager
def terminal(command: list[str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A command in a session of its own at a terminal, whose other end is given."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(  # noqa: S603
            ["/usr/bin/env", "setsid", "--ctty", "--wait", *command], cwd=PROJECT, stdin=theirs, stdout=theirs,
            stderr=theirs, env={name: value for name, value in os.environ.items() if name != "NO_COLOR"},
        ) as process:  # fmt: skip
            os.close(theirs)
            yield ours, process
    finally:
        os.close(ours)


def read_until(ours: int, wanted: str) -> str:
    text = ""
    while wanted not in text:
        text += os.read(ours, 4096).decode()
    return text


def curl(line: str) -> bytes:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = ["/bin/bash", "-c", line]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, timeout=60, check=True).stdout  # noqa: S603


def deploy(state: Path) -> bytes:
    command = [*UP[:3], "tenant", "deploy", "kept", "--state", str(state)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=60, check=False).stderr  # noqa: S603


def test_screen_at_a_terminal_and_ctrl_c(tmp_path: Path) -> None:
    """What the screen shows works; Ctrl-C ends all; the next stack, of two processes, goes on from there."""
    state = tmp_path / "a state"
    first = choose_ports(2).first
    options = ["--state", str(state), "--base-port", str(first)]
    with terminal([*UP, *options]) as (ours, process):
        shown = read_until(ours, "--help")
        assert "\033[" in shown
        assert f"http://127.0.0.1:{first}/api" in shown
        assert len(shown.splitlines()) < 20, "short"
        (line,) = re.findall(r"(curl .*?)\033", shown)
        assert json.loads(curl(line)) == {"data": [], "has_more": False, "next": None}
        assert deploy(state) == b""
        os.write(ours, b"\x03")
        assert "goes on at the next start" in read_until(ours, "next start")
        assert process.wait(20) == 0
    assert not (state / endpoints.FILE).exists()

    ports = Ports(first, 2)
    assert ports.taken() == []
    options += ["--instances", "2", "--json"]
    with subprocess.Popen([*UP, *options], cwd=PROJECT, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        assert found["functions"] == f"http://127.0.0.1:{ports.first}"
        processes = [f"http://127.0.0.1:{ports.instance(number)}" for number in range(2)]
        assert found["apps"] == {"data": processes, "control": processes}
        assert found["env"]["BULKHEAD_INSTANCES_AT_MOST"] == "2"
        assert found.keys() == {
            "functions", "apps", "stand_in", "ca_bundle", "proxy", "service_bus_connection_string", "env",
        }  # fmt: skip
        assert b"deployed already" in deploy(state)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_second_stack_over_the_same_state(state: Path, stack: Endpoints) -> None:
    port = stack.functions.rpartition(":")[2]
    for more in ([], ["--base-port", port]):
        said = refused("--state", str(state), *more)
        assert f"running with the state directory '{state}' already: {stack.functions}/api" in said
        assert "--state DIR" in said
    assert endpoints.load(state) == stack


def test_port_that_is_in_use(tmp_path: Path, stack: Endpoints) -> None:
    port = int(stack.functions.rpartition(":")[2])
    said = refused("--state", str(tmp_path / "new"), "--base-port", str(port - 2))
    assert f"Port {port} is in use. The stack needs ports {port - 2} to {port + 1}" in said
    assert "--base-port" in said


def test_state_that_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("a letter to my aunt")
    said = refused("--state", str(tmp_path))
    assert f"remove '{tmp_path}' or choose another --state" in said
    assert (tmp_path / "state.db").read_text() == "a letter to my aunt"


def test_stand_in_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(  # noqa: S603
        [*UP, "--json", "--state", str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (stand_in,) = (pid for pid in children if b"infra.local.standin" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(int(stand_in), signal.SIGKILL)
        assert process.wait(20) == 1
        assert b"The stand-in for Azure ended (status -9)" in process.stderr.read()
    assert not (tmp_path / endpoints.FILE).exists()
