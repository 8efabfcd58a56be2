"""How many messages a second a Functions host takes from a queue, for a function that does nothing."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from tests.benchmarks.harness.process import environment
from tests.benchmarks.harness.stack import ROOT, Azure, stand_in

_QUEUES = {"triggers_per_s": "check-requests", "session_triggers_per_s": "screenings"}
_SESSIONS = 8
_BATCH = 100  # messages
_WITHIN = 120.0  # seconds
_HOST_FILE = {"version": "2.0", "logging": {"logLevel": {"default": "Warning"}}}  # the rest is Azure's defaults
_APP = """\
import azure.functions as func

app = func.FunctionApp()


@app.service_bus_queue_trigger(arg_name="message", queue_name="check-requests", connection="ServiceBusConnection")
async def alone(message: func.ServiceBusMessage) -> None: ...


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="screenings", connection="ServiceBusConnection", is_sessions_enabled=True
)
async def in_a_session(message: func.ServiceBusMessage) -> None: ...
"""


def figures(folder: Path, messages: int) -> dict[str, float]:
    """Messages/s without sessions and with, of `messages` that wait in each queue when the host starts."""
    app = folder / "app"
    app.mkdir()
    (app / "host.json").write_text(json.dumps(_HOST_FILE))
    (app / "function_app.py").write_text(_APP)
    with stand_in(folder / "state") as azure:
        for queue in _QUEUES.values():
            asyncio.run(_fill(azure, queue, messages))
        return {name: _rate(azure, app, queue, messages) for name, queue in _QUEUES.items()}


def _rate(azure: Azure, app: Path, queue: str, count: int) -> float:
    other = "in_a_session" if queue == "check-requests" else "alone"
    with _host(azure, app, {f"AzureWebJobs.{other}.Disabled": "true"}):
        taken: list[datetime] = []
        done: list[datetime] = []
        since, deadline = 1, time.monotonic() + _WITHIN
        while len(done) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{queue}: {len(done)} of {count} messages were completed in {_WITHIN} s")
            time.sleep(0.2)
            entries, since = azure.journal(since)
            for entry in entries:
                if entry["target"] == queue and entry["operation"] in ("receive", "complete"):
                    moments = taken if entry["operation"] == "receive" else done
                    moments.append(datetime.fromisoformat(entry["time"]))
    return count / max(0.001, (done[-1] - taken[0]).total_seconds())  # the journal counts in milliseconds


async def _fill(azure: Azure, queue: str, count: int) -> None:
    async with (
        ServiceBusClient.from_connection_string(azure.env["ServiceBusConnection"]) as client,
        client.get_queue_sender(queue) as sender,
    ):
        for start in range(0, count, _BATCH):
            numbers = range(start, min(start + _BATCH, count))
            await sender.send_messages([ServiceBusMessage("x", session_id=str(n % _SESSIONS)) for n in numbers])


@contextmanager
def _host(azure: Azure, app: Path, settings: dict[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "infra.local.host", "--app", str(app), "--port", "0", "--parent", str(os.getpid())]
    command += ["--state", str(azure.state / "functions")]
    with (azure.state / "host.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, cwd=ROOT, env=environment(azure.env | settings), stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
