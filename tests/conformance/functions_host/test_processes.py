"""Host processes: their log, how they start and end, several side by side.

Each expectation names its source: a page of Microsoft's documentation, a file of the host's or an extension's source
(Azure/azure-functions-host, Azure/azure-webjobs-sdk-extensions, Azure/azure-sdk-for-net), or an issue there.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusMessage

from infra.local.host.errors import StartError
from infra.local.host.supervisor import HostSpec, Supervisor
from tests.conformance.functions_host.bench import PATIENCE, Answer, Bench, start_host, stop_host, wait_for


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
    assert "hidden-" not in log


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


def settings_of(bench: Bench) -> dict[str, str]:
    return {name: value for name, value in bench.environment.items() if os.environ.get(name) != value}


@contextlib.asynccontextmanager
async def supervised(bench: Bench, state: Path, names: list[str]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(drain_seconds=5)
    await supervisor.start([HostSpec(name, bench.app) for name in names], settings_of(bench), state)
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():  # noqa: ASYNC110 - another process is looked at
            await asyncio.sleep(0.01)


async def test_instances_behind_one_front_door(bench: Bench, tmp_path: Path) -> None:
    def ask(url: str) -> Answer:
        return bench.call("/admin/host/status", headers=master, port=int(url.rpartition(":")[2]))

    async with supervised(bench, tmp_path, ["one", "two"]) as supervisor:
        master = {"x-functions-key": json.loads((tmp_path / "functions/keys.json").read_text())["masterKey"]["value"]}
        answers = [await asyncio.to_thread(ask, supervisor.front_door) for _ in range(4)]
        assert [answer.json()["id"] for answer in answers] == ["one", "two", "one", "two"]

        # a timer runs in one process only, whichever it is, and goes on in the other after a crash
        holder = answers[0].json()["processId"]
        pids = {answer.json()["processId"] for answer in answers}
        await until(lambda: len([r for r in bench.records("often") if r["pid"] in pids]) >= 2)
        assert len({record["pid"] for record in bench.records("often")} & pids) == 1
        running = next(record["pid"] for record in bench.records("often") if record["pid"] in pids)
        name = "one" if running == holder else "two"
        first = supervisor.processes[name]
        before = first.starts
        first.kill()
        await until(lambda: not first.ready.is_set())
        # it is passed over meanwhile, then it is back on its port
        for _ in range(2):
            assert (await asyncio.to_thread(ask, supervisor.front_door)).status == 200
        await until(lambda: first.starts > before)
        assert (await asyncio.to_thread(ask, first.url)).json()["processId"] == first.pid != running
        (survivor,) = pids - {running}
        await until(lambda: any(record["pid"] in (survivor, first.pid) for record in bench.records("often")))
        assert "ended with status -9 and is started again" in first.log_path.read_text()


async def test_a_host_that_cannot_start_is_reported(bench: Bench, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        spec = HostSpec("one", bench.app, taken.getsockname()[1])
        with pytest.raises(StartError, match=r"Host 'one' can't start[\s\S]*Port \d+ is unavailable"):
            await Supervisor().start([spec], settings_of(bench), tmp_path)


async def test_a_host_that_keeps_crashing_is_given_up(bench: Bench, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "host.json").write_text('{"version": "2.0"}')
    (app / "function_app.py").write_text(
        "import asyncio, os\n"
        "import azure.functions as func\n"
        "app = func.FunctionApp()\n"
        "@app.timer_trigger(arg_name='timer', schedule='0 0 0 1 1 *', run_on_startup=True)\n"
        "async def crash(timer: func.TimerRequest) -> None:\n"
        "    await asyncio.sleep(0.1)\n"
        "    os._exit(3)\n"
    )
    supervisor = Supervisor()
    await supervisor.start([HostSpec("one", app)], settings_of(bench), tmp_path)
    async with asyncio.timeout(2 * PATIENCE):
        failure = await supervisor.failure
    assert "Host 'one' keeps crashing" in str(failure)
    assert supervisor.processes["one"].starts == 4
    await supervisor.stop()
