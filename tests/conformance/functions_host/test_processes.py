"""Host processes: their log, how they start and end, several side by side.

Each expectation names its source: a page of Microsoft's documentation, a file of the host's or an extension's source
(Azure/azure-functions-host, Azure/azure-webjobs-sdk-extensions, Azure/azure-sdk-for-net), or an issue there.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusMessage

from infra.local.host.errors import StartError
from infra.local.host.supervisor import HostProcess, Supervisor
from tests.conformance.functions_host.bench import PATIENCE, Answer, Bench, free_port, start_host, stop_host, wait_for


def test_log_lines_are_those_of_core_tools(bench: Bench) -> None:
    bench.call("/api/echo/7?secret=hidden-value", headers={"X-Hidden": "hidden-header"})
    bench.call("/api/text")
    bench.call("/api/fails")
    bench.call("/api/quiet")
    log = bench.log()
    stamp = r"^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "
    reason = r"\(Reason='This function was programmatically called via the host APIs\.', Id=[0-9a-f-]{36}\)$"
    assert re.search(f"{stamp}Executing 'Functions\\.echo' {reason}", log, re.MULTILINE)
    assert re.search(
        rf"{stamp}Executed 'Functions\.echo' \(Succeeded, Id=[0-9a-f-]+, Duration=\d+ms\)$", log, re.MULTILINE
    )
    assert re.search(rf"{stamp}Executed 'Functions\.fails' \(Failed, Id=", log, re.MULTILINE)
    assert re.search(rf"{stamp}a synchronous function$", log, re.MULTILINE)
    assert "ValueError('details that no client may see')" in log
    assert "\n[2000-01-01" not in log  # a record's further lines cannot pass for records
    assert "Functions.quiet'" not in log  # logging.logLevel
    assert "not so loud" not in log
    assert "hidden-" not in log
    assert "ConnectionState" not in log  # the receivers' SDK


# ---- processes


def test_an_application_that_cannot_be_indexed_ends_the_start(bench: Bench, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "host.json").write_text('{"version": "2.0"}')
    (app / "function_app.py").write_text(
        "import azure.functions as func\n"
        "app = func.FunctionApp()\n"
        "@app.route(route='x')\n"
        "async def broken(request: func.HttpRequest, extra: int) -> func.HttpResponse: ...\n"
    )
    command = [sys.executable, "-m", "infra.local.host", "--app", str(app), "--port", "0", "--state", str(tmp_path)]
    ended = subprocess.run(  # noqa: S603 - the host
        command, env=bench.environment, capture_output=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 1
    # functions.py of azure-functions-runtime: FunctionLoadError
    assert b"cannot load the broken function: the following parameters are declared in Python but not" in ended.stdout


def test_sigterm_lets_running_invocations_end(bench: Bench, tmp_path: Path) -> None:
    process, port = start_host(bench, tmp_path / "log")
    before = len(bench.records("sleeping"))
    answers: list[Answer] = []
    calling = threading.Thread(target=lambda: answers.append(bench.call("/api/sleeps?seconds=0.3", port=port)))
    calling.start()
    wait_for(lambda: len(bench.records("sleeping")) > before)
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: is_closed(port))
    calling.join()
    assert (answers[0].status, answers[0].body) == (200, b"woke")
    assert process.wait(PATIENCE) == 0


def test_what_does_not_end_in_time_is_abandoned(bench: Bench, tmp_path: Path) -> None:
    # only this process serves the queue; it is given 0.6 seconds to drain
    process, _ = start_host(bench, tmp_path / "log", **{"AzureWebJobs.slow.Disabled": "false"})
    bench.send("slow", ServiceBusMessage("0.2"), ServiceBusMessage("1.1"))
    wait_for(lambda: len(bench.records("slow starts")) == 2)
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert len(bench.records("slow ends")) == 1
    process, _ = start_host(bench, tmp_path / "log", **{"AzureWebJobs.slow.Disabled": "false"})
    try:
        wait_for(lambda: len(bench.records("slow ends")) == 2)
    finally:
        stop_host(process)
    assert [record["delivery_count"] for record in bench.records("slow starts")] == [1, 1, 2]


def test_functions_beyond_their_time(bench: Bench, tmp_path: Path) -> None:
    # "host.json reference: functionTimeout"; the text is FunctionTimeoutException's of azure-webjobs-sdk. A coroutine
    # is cancelled; a thread can't be, so its process ends to be started again, as the host restarts such a worker
    process, port = start_host(bench, tmp_path / "log")
    started = time.monotonic()
    blocked: list[Answer] = []
    blocking = threading.Thread(target=lambda: blocked.append(bench.call("/api/blocks", port=port)))
    blocking.start()
    assert bench.call("/api/sleeps?seconds=60").status == 500
    assert time.monotonic() - started >= 1.9
    assert "Timeout value of 00:00:02 was exceeded by function: Functions.sleeps" in bench.log()
    blocking.join()
    assert blocked[0].status == 500
    assert process.wait(PATIENCE) == 1
    assert "was exceeded by function: Functions.blocks" in (tmp_path / "log").read_text()


def is_closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@dataclass
class Pair:
    """Two supervised instances behind a front door."""

    bench: Bench
    supervisor: Supervisor

    @property
    def processes(self) -> dict[str, HostProcess]:
        return self.supervisor.processes

    def ask(self, url: str) -> int:
        """Which process answers there?"""
        answer = self.bench.call("/api/who", port=int(url.rpartition(":")[2]))
        assert answer.status == 200
        return int(answer.body)

    def timer_pids(self) -> set[int]:
        """The processes that have run the timer, of those that run now."""
        running = {process.pid for process in self.processes.values()}
        return {record["pid"] for record in self.bench.records("often")} & running


@pytest.fixture(scope="module")
def pair(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    state = tmp_path_factory.mktemp("pair")
    ports = {name: free_port() for name in ("one", "two")}

    async def start() -> Supervisor:
        supervisor = Supervisor(drain_seconds=5)
        await supervisor.start(bench.app, ports, bench.settings, state)
        return supervisor

    supervisor = bench.run(start())
    yield Pair(bench, supervisor)
    bench.run(supervisor.stop())


def test_instances_behind_one_front_door(pair: Pair) -> None:
    one, two = (process.pid for process in pair.processes.values())
    assert [pair.ask(pair.supervisor.front_door) for _ in range(4)] == [one, two, one, two]


def test_a_timer_runs_in_one_of_several_processes(pair: Pair) -> None:
    # "Timer trigger for Azure Functions: scale-out": a lock makes sure that one instance runs it
    (pid,) = wait_for(pair.timer_pids)
    wait_for(lambda: len(pair.bench.records("often", pid=pid)) >= 2)
    assert pair.timer_pids() == {pid}


def test_a_crashed_instance_comes_back_and_another_takes_its_timers(pair: Pair) -> None:
    (pid,) = wait_for(pair.timer_pids)
    crashed, other = sorted(pair.processes.values(), key=lambda process: process.pid != pid)
    before = crashed.starts
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not crashed.ready.is_set())
    # it is passed over meanwhile, then it is back on its port
    assert {pair.ask(pair.supervisor.front_door) for _ in range(2)} <= {other.pid, crashed.pid}
    wait_for(lambda: crashed.starts > before)
    assert pair.ask(crashed.url) == crashed.pid != pid
    assert "ended with status -9 and is started again" in crashed.log_path.read_text()
    (heir,) = wait_for(pair.timer_pids)
    assert heir in (other.pid, crashed.pid)


def test_sigterm_lets_what_came_by_the_front_door_end(bench: Bench, tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("one", "two")}
    supervisor = Supervisor(drain_seconds=5)
    bench.run(supervisor.start(bench.app, ports, bench.settings, tmp_path))
    before = len(bench.records("sleeping"))
    answers: list[Answer] = []
    port = int(supervisor.front_door.rpartition(":")[2])
    calling = threading.Thread(target=lambda: answers.append(bench.call("/api/sleeps?seconds=0.5", port=port)))
    calling.start()
    wait_for(lambda: len(bench.records("sleeping")) > before)
    bench.run(supervisor.stop())
    calling.join()
    assert (answers[0].status, answers[0].body) == (200, b"woke")
    assert is_closed(port)


async def test_a_host_that_cannot_start_is_reported(bench: Bench, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"one": taken.getsockname()[1]}
        with pytest.raises(StartError, match=r"Host 'one' can't start[\s\S]*Port \d+ is unavailable"):
            await Supervisor().start(bench.app, ports, bench.settings, tmp_path)
