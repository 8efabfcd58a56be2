"""The local Functions host, run as a process with the sample application beside this file.

Each expectation names its source: a page of Microsoft's documentation, a file of the host's or an extension's source
(Azure/azure-functions-host, Azure/azure-webjobs-sdk-extensions, Azure/azure-sdk-for-net), or an issue there.
"""

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender

from infra.local.host.errors import StartError
from infra.local.host.supervisor import HostSpec, Supervisor
from infra.local.standin.service_bus import ServiceBus
from infra.local.standin.storage import Storage
from infra.local.standin.wire import Entry, World

APP = Path(__file__).parent / "host_app"
PATIENCE = 10.0  # seconds for something to happen
QUEUES = ("plain", "stumbles", "crowd", "long", "slow", "many", "unserved")


def wait_for[T](look: Callable[[], T]) -> T:
    """What `look` gives once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.01)
    pytest.fail("it did not happen in time")


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Bench:
    """A namespace with queues, its senders, and one host process running the sample application."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = folder / "app"
        self.state = folder / "state"
        self.records_path = folder / "records"
        self.log_path = folder / "log"
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.senders: dict[str, ServiceBusSender] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def start(self) -> None:
        shutil.copytree(APP, self.app)
        self.records_path.touch()
        self.run(self._open())
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "RECORDS": str(self.records_path),
            "Bus": self.bus.connection_string,
            "PlainQueue": "plain",
            "Often": "* * * * * *",
            "AzureWebJobs.off.Disabled": "true",
            "AzureWebJobs.unserved.Disabled": "1",
            "AzureWebJobs.slow.Disabled": "true",
            "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000",
        }
        missed = {"Last": "2026-01-01T00:00:00+00:00", "Next": "2026-01-01T01:00:00+00:00", "LastUpdated": ""}
        (self.state / "timers").mkdir(parents=True)
        (self.state / "timers" / "hourly.json").write_text(json.dumps(missed))
        self.process, self.port = start_host(self, self.log_path)

    async def _open(self) -> None:
        self.storage = Storage()
        self.world = World(self.storage)
        self.bus = ServiceBus(self.world)
        for name in QUEUES:
            self.bus.create_queue(name, lock_duration=0.6 if name == "long" else 60)
        self.bus.create_queue("sessions", requires_session=True)
        await self.bus.start()
        self.client = ServiceBusClient.from_connection_string(self.bus.connection_string)
        await self.open_senders()

    async def open_senders(self) -> None:
        await self._close_senders()
        self.senders = {name: self.client.get_queue_sender(name) for name in (*QUEUES, "sessions")}

    def send(self, queue: str, *messages: ServiceBusMessage) -> None:
        self.run(self.senders[queue].send_messages(list(messages)))

    def stop(self) -> None:
        if self.process is not None:
            stop_host(self.process)
        self.run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _close(self) -> None:
        await self._close_senders()
        await self.client.close()
        await self.bus.stop()
        self.storage.close()

    async def _close_senders(self) -> None:
        await asyncio.gather(*(sender.close() for sender in self.senders.values()))

    def records(self, kind: str) -> list[dict[str, Any]]:
        lines = self.records_path.read_text().splitlines()
        return [record for line in lines if (record := json.loads(line))["kind"] == kind]

    def journal(self, operation: str) -> list[Entry]:
        return [entry for entry in self.world.journal.since(1)[0] if entry.operation == operation]

    def log(self) -> str:
        return self.log_path.read_text()

    def call(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        port: int = 0,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    @property
    def keys(self) -> Any:
        return json.loads((self.state / "keys.json").read_text())

    @property
    def master(self) -> dict[str, str]:
        return {"x-functions-key": self.keys["masterKey"]["value"]}


def start_host(bench: Bench, log_path: Path, **settings: str) -> tuple[subprocess.Popen[bytes], int]:
    ready = log_path.with_suffix(".ready")
    command = [
        sys.executable,
        "-m",
        "infra.local.host",
        "--app",
        str(bench.app),
        "--port",
        "0",
        "--drain-seconds",
        "0.6",
    ]
    command += ["--state", str(bench.state), "--ready-file", str(ready)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**bench.environment, **settings})  # noqa: S603
    wait_for(lambda: ready.exists() or process.poll() is not None)
    assert ready.exists(), log_path.read_text()
    return process, int(json.loads(ready.read_text())["url"].rpartition(":")[2])


def stop_host(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("host"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


# ---- HTTP: requests and answers


def test_a_request_reaches_the_function_as_azure_delivers_it(bench: Bench) -> None:
    answer = bench.call(
        "/api/echo/7/Bob%20X?a=1&a=2&empty=&code=c",
        method="POST",
        headers={"Content-Type": "text/plain", "X-Mixed": "V", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
        body="grüße".encode(),
    )
    seen = answer.json()
    # GrpcMessageConversionExtensions.cs, ToRpcHttp: the whole URL, header names in lower case, several query values
    # joined, empty ones left out, route values as text, the body as bytes
    assert seen["url"] == f"http://127.0.0.1:{bench.port}/api/echo/7/Bob%20X?a=1&a=2&empty=&code=c"
    assert seen["method"] == "POST"
    assert seen["headers"]["x-mixed"] == "V"
    assert seen["params"] == {"a": "1,2", "code": "c"}
    assert seen["route_params"] == {"id": "7", "rest": "Bob X"}
    assert seen["body"] == "grüße"
    assert seen["function"] == "echo"
    # W3C trace context: the caller's trace goes on with a new span
    assert re.fullmatch(f"00-{'a' * 32}-(?!b{{16}})[0-9a-f]{{16}}-01", seen["trace_parent"])
    assert answer.status == 201
    assert answer.headers["X-One"] == "1"
    assert answer.headers["Content-Type"] == "application/json"


def test_a_chunked_request_arrives_without_its_body(bench: Bench) -> None:
    # ToRpcHttp reads a body only when `request.ContentLength > 0`; azure-functions-nodejs-worker#524
    connection = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("POST", "/api/echo/7", iter([b"one", b"two"]), encode_chunked=True)
        assert json.loads(connection.getresponse().read())["body"] == ""


def test_several_cookies_are_set(bench: Bench) -> None:
    answer = bench.call("/api/cookies")
    assert answer.status == 204
    # Microsoft.Net.Http.Headers.SetCookieHeaderValue: order and case of attributes; the value is escaped
    assert answer.headers.get_all("Set-Cookie") == [
        "a=1%2F2; path=/x; samesite=lax; httponly",
        "b=2; max-age=60; secure",
    ]


def test_text_of_a_synchronous_function(bench: Bench) -> None:
    answer = bench.call("/api/text")
    assert (answer.status, answer.body) == (200, b"text")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/api/fails", "/api/nothing"])
def test_a_failure_is_500_without_details(bench: Bench, path: str) -> None:
    # "Azure Functions HTTP trigger": an unhandled exception is an empty 500; http.py of azure-functions has no
    # conversion for None
    answer = bench.call(path)
    assert (answer.status, answer.body) == (500, b"")


# ---- HTTP: routes and refusals


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/echo/x/y", b"rest x/y"),  # {id:int} does not fit, the catch-all takes it
        ("GET", "/API/Echo", b"rest -"),  # "Routing in ASP.NET Core": regardless of case; a catch-all may be empty
        # azure-functions-host#9876: routes are tried in the order of the functions' names, not by precedence
        ("GET", "/api/things/list", b"parameter list"),
    ],
)
def test_which_function_a_path_leads_to(bench: Bench, method: str, path: str, body: bytes) -> None:
    assert bench.call(path, method=method).body == body


def test_a_route_that_azure_would_never_reach_is_named_at_the_start(bench: Bench) -> None:
    expected = "Route 'api/things/list' of function 'b_literal' is hidden by route 'api/things/{name}' of function"
    assert expected in bench.log()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", "/echo/7"),  # outside of the prefix
        # azure-functions-host#10098 and #11625: a method that no function of the path has is 404, not 405
        ("HEAD", "/api/guarded"),
        ("DELETE", "/api/guarded"),
        ("GET", "/api/off"),  # "How to disable functions in Azure Functions"
    ],
)
def test_what_is_not_there_is_404(bench: Bench, method: str, path: str) -> None:
    answer = bench.call(path, method=method)
    assert (answer.status, answer.body) == (404, b"")


def test_a_body_beyond_the_limit_is_413(bench: Bench) -> None:
    # From "HTTP trigger: limits", and FUNCTIONS_REQUEST_BODY_SIZE_LIMIT
    assert bench.call("/api/echo/7", method="POST", body=b"x" * 1001).status == 413
    assert bench.call("/api/echo/7", method="POST", body=b"x" * 1000).status == 201


def test_access_keys(bench: Bench) -> None:
    # "Work with access keys in Azure Functions"
    host_key = bench.keys["functionKeys"][0]["value"]
    own_key = bench.keys["functions"]["guarded"][0]["value"]
    other_key = bench.keys["functions"]["echo"][0]["value"]
    master = bench.keys["masterKey"]["value"]
    assert bench.call("/api/guarded").status == 401
    assert bench.call("/api/guarded", headers={"x-functions-key": other_key}).status == 401
    for key in (host_key, own_key, master):
        assert bench.call("/api/guarded", headers={"x-functions-key": key}).status == 200
        assert bench.call(f"/api/guarded?code={key}").status == 200
    assert bench.call("/api/vault", headers={"x-functions-key": host_key}).status == 401
    assert bench.call("/api/vault", headers=bench.master).status == 200
    assert not any(key in bench.log() for key in (host_key, own_key, master))
    assert (bench.state / "keys.json").stat().st_mode & 0o077 == 0


# ---- the admin endpoints


def test_the_status_needs_the_master_key(bench: Bench) -> None:
    # HostController.cs
    host_key = {"x-functions-key": bench.keys["functionKeys"][0]["value"]}
    assert bench.call("/admin/host/ping").status == 200
    assert bench.call("/admin/host/status").status == 401
    assert bench.call("/admin/host/status", headers=host_key).status == 401
    assert bench.call("/admin/host/status", headers=bench.master).json()["state"] == "Running"


def test_the_functions_are_listed(bench: Bench) -> None:
    found = bench.call("/admin/functions", headers=bench.master).json()
    by_name = {function["name"]: function for function in found}
    assert by_name["off"]["isDisabled"]
    assert by_name["often"]["config"]["bindings"][0]["schedule"] == "%Often%"


def test_functions_are_fired_by_hand(bench: Bench) -> None:
    # "Manually run a non HTTP-triggered function"
    assert bench.call("/admin/functions/plain", method="POST", body=b'{"input": "by hand"}').status == 401
    for name, given in (("plain", b'{"input": "by hand"}'), ("yearly", b"{}")):
        before = len(bench.records(name))
        answer = bench.call(f"/admin/functions/{name}", method="POST", headers=bench.master, body=given)
        assert answer.status == 202
        wait_for(lambda name=name, before=before: len(bench.records(name)) > before)
    assert any(record["body"] == "by hand" for record in bench.records("plain"))
    assert bench.call("/admin/functions/unknown", method="POST", headers=bench.master, body=b"{}").status == 404


# ---- Service Bus


def test_a_message_with_its_metadata(bench: Bench) -> None:
    message = ServiceBusMessage(
        "text",
        message_id="m-1",
        subject="kind",
        correlation_id="c-1",
        content_type="application/jose",
        application_properties={"number": 7, "word": "x"},
    )
    bench.send("plain", message)
    seen = wait_for(lambda: [record for record in bench.records("plain") if record["message_id"] == "m-1"])[0]
    # ServiceBusTriggerBindingStrategy.cs: names and values; DeliveryCount is 1 at the first delivery
    # (AmqpMessageConverter.cs adds one to the header's)
    metadata = seen["metadata"]
    assert seen["body"] == "text"
    assert (seen["delivery_count"], seen["user_properties"]) == (1, {"number": 7, "word": "x"})
    assert {name: metadata[name] for name in ("MessageId", "Subject", "Label", "CorrelationId", "ContentType")} == {
        "MessageId": "m-1",
        "Subject": "kind",
        "Label": "kind",
        "CorrelationId": "c-1",
        "ContentType": "application/jose",
    }
    assert metadata["ApplicationProperties"] == metadata["UserProperties"] == {"number": 7, "word": "x"}
    assert metadata["SequenceNumber"] == seen["sequence_number"] > 0
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", metadata["LockToken"])
    # `EnqueuedTime.DateTime` has no kind, so that its JSON has no zone and the worker makes a naive datetime of it
    assert seen["enqueued_is_naive"]
    assert metadata["EnqueuedTime"] == metadata["EnqueuedTimeUtc"] + "+00:00"
    assert metadata["ExpiresAtUtc"] == "9999-12-31T23:59:59.9999999"  # DateTimeOffset.MaxValue
    assert "SessionId" not in metadata


def test_a_failed_message_is_abandoned_and_delivered_again(bench: Bench) -> None:
    # From "Azure Service Bus trigger: PeekLock behavior"
    bench.send("stumbles", ServiceBusMessage("x"))
    wait_for(lambda: len(bench.records("stumbles")) == 2)
    assert [record["delivery_count"] for record in bench.records("stumbles")] == [1, 2]


def test_no_more_calls_at_once_than_allowed(bench: Bench) -> None:
    # Source: host.json's maxConcurrentCalls
    bench.send("crowd", *(ServiceBusMessage("x") for _ in range(16)))
    wait_for(lambda: len(bench.records("crowd")) == 16)
    assert max(record["running"] for record in bench.records("crowd")) == 4


def test_a_lock_is_renewed_while_the_function_runs(bench: Bench) -> None:
    # host.json: maxAutoLockRenewalDuration; the queue's lock ends before the function does
    bench.send("long", ServiceBusMessage("x"))
    wait_for(lambda: bench.records("long"))
    assert [record["delivery_count"] for record in bench.records("long")] == [1]
    assert "could not be settled" not in bench.log()


def test_a_batch(bench: Bench) -> None:
    # cardinality many: arrays named `...Array`, ToRpcStringArray leaves out empty entries
    messages = [ServiceBusMessage(f"b{n}", message_id=f"id-{n}", application_properties={"n": n}) for n in range(5)]
    bench.send("many", *messages)
    wait_for(lambda: sum(len(record["bodies"]) for record in bench.records("many")) == 5)
    batches = bench.records("many")
    assert len(batches) < 5
    assert [body for batch in batches for body in batch["bodies"]] == [f"b{n}" for n in range(5)]
    assert [one for batch in batches for one in batch["ids"]] == [f"id-{n}" for n in range(5)]
    assert [one["n"] for batch in batches for one in batch["user_properties"]] == [0, 1, 2, 3, 4]
    assert all(isinstance(number, int) for batch in batches for number in batch["sequence_numbers"])


def test_sessions_in_order_and_not_too_many_at_once(bench: Bench) -> None:
    # host.json: maxConcurrentSessions, sessionIdleTimeout; "Message sessions": first in, first out within a session
    names = [f"s{n}" for n in range(5)]
    for index in range(3):
        bench.send("sessions", *(ServiceBusMessage(str(index), session_id=name) for name in names))
    wait_for(lambda: len(bench.records("session ends")) == 15)
    for name in names:
        bodies = [one["body"] for one in bench.records("session starts") if one["session"] == name]
        assert bodies == ["0", "1", "2"]
    kinds = [json.loads(line) for line in bench.records_path.read_text().splitlines()]
    running: set[str] = set()
    most = 0
    for record in kinds:
        if record["kind"] == "session starts":
            running.add(record["session"])
        elif record["kind"] == "session ends":
            running.discard(record["session"])
        most = max(most, len(running))
    assert most == 2


def test_a_disabled_function_leaves_its_queue_alone(bench: Bench) -> None:
    bench.send("unserved", ServiceBusMessage("x"))
    bench.send("plain", ServiceBusMessage("after", message_id="m-after"))
    wait_for(lambda: [record for record in bench.records("plain") if record["message_id"] == "m-after"])
    assert bench.records("unserved") == []


def test_a_lost_connection_is_made_again(bench: Bench) -> None:
    port = int(re.search(r":(\d+);", bench.bus.connection_string)[1])  # type: ignore[index]

    async def restart() -> None:
        await bench.bus.stop()
        await bench.bus.start(port=port)
        await bench.open_senders()  # the old ones would pause before they try again

    started, ended = len(bench.records("long starts")), len(bench.records("long"))
    bench.send("long", ServiceBusMessage("x"))
    wait_for(lambda: len(bench.records("long starts")) > started)
    bench.run(restart())
    bench.send("plain", ServiceBusMessage("later", message_id="m-later"))
    wait_for(lambda: [record for record in bench.records("plain") if record["message_id"] == "m-later"])
    assert "can't be reached, trying again" in bench.log()
    # what was running is settled over the new connection by its lock token (AmqpReceiver.cs)
    wait_for(lambda: len(bench.records("long")) > ended)
    settled = wait_for(lambda: bench.journal("update_disposition"))
    assert [(entry.target, entry.status) for entry in settled] == [("long", 200)]


# ---- timers


def test_a_timer_by_a_setting(bench: Bench) -> None:
    wait_for(lambda: len(bench.records("often")) >= 2)
    assert not any(record["past_due"] for record in bench.records("often"))
    assert re.search(r"Executing 'Functions\.often' \(Reason='Timer fired at [^']+', Id=[0-9a-f-]{36}\)", bench.log())


def test_a_timer_that_runs_on_startup(bench: Bench) -> None:
    # TimerListener.cs; TimerInfo's JSON
    first = wait_for(lambda: bench.records("yearly"))[0]
    assert not first["past_due"]
    assert first["schedule"] == {"AdjustForDST": True}
    assert first["status"]["Next"].endswith("-01-01T00:00:00+00:00")
    assert first["status"]["Last"] == "0001-01-01T00:00:00"


def test_a_missed_run_is_past_due(bench: Bench) -> None:
    # ScheduleMonitor.cs, CheckPastDueAsync; the status is kept
    assert wait_for(lambda: bench.records("hourly"))[0]["past_due"]
    status = wait_for(lambda: json.loads((bench.state / "timers" / "hourly.json").read_text()))
    assert status["Next"] > status["Last"] > "2026-01-01T01:00"


def test_a_retry_policy(bench: Bench) -> None:
    # "Azure Functions error handling and retries"
    bench.call("/admin/functions/persistent", method="POST", headers=bench.master, body=b"{}")
    wait_for(lambda: len(bench.records("persistent")) == 3)
    assert [(record["retry"], record["most"]) for record in bench.records("persistent")] == [(0, 2), (1, 2), (2, 2)]


# ---- log


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
        supervisor.kill(name)
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
