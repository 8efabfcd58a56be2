"""`python -m tests.benchmarks.stand_in`: what the stand-in itself can do, so that it limits nothing unnoticed."""
# ruff: noqa: T201 - a command line prints

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import report
from tests.benchmarks.harness.process import Process, process
from tests.benchmarks.harness.report import Goal
from tests.benchmarks.harness.stack import ROOT, Azure, stand_in
from tests.benchmarks.stand_in import triggers

_CLIENT = "tests.benchmarks.stand_in.client"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what is done."""

    clients: int  # processes
    requests: int  # of each kind and client
    width: int  # requests at once and client
    messages: int  # of each client
    items: int  # stored before the start is measured
    starts: int


FULL = Plan(clients=2, requests=2000, width=16, messages=3000, items=5000, starts=5)
QUICK = Plan(clients=1, requests=5, width=2, messages=2, items=20, starts=1)

# What the jit benchmark asks of it at most: 32 invocations at once, each with one of these.
GOALS = (
    Goal("issue_token_per_s", "Entra ID: tokens/s", least=500),
    Goal("get_secret_per_s", "Key Vault: readings of a secret/s", least=1000),
    Goal("list_keys_per_s", "Resource Manager: listKeys/s", least=1000),
    Goal("read_item_per_s", "Cosmos DB: point reads/s", least=1000),
    Goal("create_item_per_s", "Cosmos DB: new items/s", least=800),
    Goal("query_per_s", "Cosmos DB: first pages of ten/s, of a partition of thousands", least=50),
    Goal("messages_per_s", "Service Bus: messages sent, received and completed/s", least=500),
    Goal("triggers_per_s", "Functions host: messages that a function was run for/s", least=250),
    Goal("session_triggers_per_s", "Functions host: likewise, with sessions/s", least=250),
    Goal("start_s", "start with thousands of items stored, process and all, s", most=1.0),
)


def main() -> int:
    """Take all figures; 0 when they were taken, whether or not they are as they should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stand_in", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the figures mean little")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench" / "stand_in.json", help="(%(default)s)")
    options = parser.parse_args()
    figures = _take(QUICK if options.quick else FULL)
    report.write(options.json, figures)
    print(report.table(GOALS, figures))
    for key, value in figures.items():
        if key.endswith("_cpu_us"):
            print(f"{key}: {report.show(value)}")
    return 0


def _take(plan: Plan) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        with stand_in(state) as azure, ExitStack() as stack:
            clients = [
                stack.enter_context(process(_CLIENT, str(number), env=azure.env)) for number in range(plan.clients)
            ]
            for number, client in enumerate(clients):
                deployed = azure.control("POST", "/tenants", {"name": f"tenant-{number}"})
                daemon = azure.control("POST", "/daemons", {"name": f"tenant-{number}", "credential": "secret"})
                client.ask("prepare", deployed=deployed, daemon=daemon)
            for what in ("issue_token", "get_secret", "list_keys", "read_item", "create_item", "query"):
                count = plan.requests // 10 or 1 if what == "query" else plan.requests
                figures |= _drive(azure, clients, what, count, plan.width)
            figures["messages_per_s"] = _messages(clients, plan.messages)
            for client in clients:
                client.ask("run", what="create_item", count=plan.items // plan.clients, width=plan.width)
        figures["start_s"] = min(_start(state) for _ in range(plan.starts))
        print("triggers ...", file=sys.stderr, flush=True)
        figures |= triggers.figures(Path(folder), plan.messages)
    return figures


def _at_once(clients: list[Process], ask: Callable[[Process], float]) -> float:
    """Seconds until the last client has done it."""
    with ThreadPoolExecutor(len(clients)) as pool:
        return max(pool.map(ask, clients))


def _drive(azure: Azure, clients: list[Process], what: str, count: int, width: int) -> dict[str, float]:
    print(f"{what} ...", file=sys.stderr, flush=True)
    before = _cpu(azure.pid)
    seconds = _at_once(clients, lambda client: client.ask("run", what=what, count=count, width=width))
    done = count * len(clients)
    return {f"{what}_per_s": done / seconds, f"{what}_cpu_us": (_cpu(azure.pid) - before) / done * 1e6}


def _messages(clients: list[Process], count: int) -> float:
    print("messages ...", file=sys.stderr, flush=True)
    return count * len(clients) / _at_once(clients, lambda client: client.ask("messages", count=count))


def _cpu(pid: int) -> float:
    """Seconds of CPU that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _start(state: Path) -> float:
    """Seconds from the start of the process until the stand-in answers."""
    began = time.perf_counter()
    with stand_in(state):
        return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
