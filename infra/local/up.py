"""`python -m infra.local up`: the stack in the foreground, and the screen that says what runs where."""

import asyncio
import json
import shlex
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from infra.local import endpoints
from infra.local.endpoints import DEFAULT_STATE, Endpoints
from infra.local.processes import told_to_end
from infra.local.screen import Screen, program, table
from infra.local.stack import Ports, Stack, choose_ports

_USUAL_PORT = 7071  # that of Azure Functions Core Tools


async def run(options: Namespace) -> int:
    """Start, wait for SIGTERM or Ctrl-C, end. Raises RunningError, StartError."""
    began = time.monotonic()
    stop = told_to_end()
    with endpoints.lock(options.state):  # who runs here already is the better answer than whose ports are in use
        ports = choose_ports(options.instances, options.base_port, rather=_USUAL_PORT)
    stack = Stack(options.state, ports=ports, latency=options.latency)
    starting = asyncio.create_task(stack.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():  # told to end before it was ready
        starting.cancel()
        await asyncio.wait({starting})
        return 0
    found = await starting
    if options.json:
        print(json.dumps(asdict(found)), flush=True)
    else:
        _welcome(found, ports, options, time.monotonic() - began)
    failing = asyncio.create_task(stack.failed())
    try:
        await asyncio.wait({failing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            await failing
    finally:
        failing.cancel()
        if not options.json:
            print("\nEnding; what has been accepted and is not done yet goes on at the next start.", flush=True)
        await stack.stop()
    return 0


def _welcome(found: Endpoints, ports: Ports, options: Namespace, seconds: float) -> None:
    screen = Screen()
    state: Path = options.state
    command = program()
    option = "" if state == DEFAULT_STATE else f" --state {shlex.quote(str(state))}"
    screen.line("Bulkhead is running, on an embedded stand-in for Azure. Ctrl-C ends both.", "bold")
    screen.line(f"Started in {seconds:.1f} s.", "dim")
    if options.base_port is None and ports.first != _USUAL_PORT:
        usual = Ports(_USUAL_PORT, ports.instances).all
        screen.line(
            f"One of the usual ports {usual[0]} to {usual[-1]} is in use, so others were taken; --base-port P chooses.",
            "yellow",
        )
    screen.line()
    processes = found.apps["data"]
    rows = [
        ("Bulkhead's API", f"{found.functions}/api", "what it offers: docs/api.md and /api/openapi.json"),
        *([("  its processes", " ".join(processes), "")] if len(processes) > 1 else []),
        ("stand-in", found.stand_in, "plays Azure, users, customers: the commands below speak to it"),
        ("state and logs", f"{state} and {state / 'logs'}", "the next start goes on from here"),
    ]
    for row in table(rows):
        screen.line(row)
    for line in f"""
In another terminal, as the publisher's staff:
  curl -H "Authorization: Bearer $({command} token --publisher{option})" {found.functions}/api/tenants

A customer of your own, and a token of its administrator:
  {command} tenant deploy acme{option} && {command} tenant register acme{option}
  {command} token --tenant acme{option}

Who does what to which target, live; and everything else:
  {command} journal --follow{option}
  {command} --help""".splitlines():
        screen.line(screen.paint(line, "blue") if line.startswith(" ") else line)
