"""`python -m infra.local up`: the stack in the foreground, and the screen that says what runs where."""

import asyncio
import json
import os
import signal
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from infra.local.endpoints import DEFAULT_STATE, Endpoints
from infra.local.screen import Screen, table
from infra.local.stack import Stack, choose_ports

_USUAL_PORT = 7071  # that of Azure Functions Core Tools


async def run(options: Namespace) -> int:
    """Start, wait for SIGTERM or Ctrl-C, end. Raises RunningError, StartError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stack = Stack(
        options.state,
        ports=choose_ports(options.instances, options.base_port, rather=_USUAL_PORT),
        latency=options.latency,
    )
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
        _welcome(found, options.state)
    ended = asyncio.create_task(stack.ended())
    try:
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            await ended
    finally:
        ended.cancel()
        if not options.json:
            print("\nEnding ...", flush=True)
        await stack.stop()
    return 0


def _welcome(found: Endpoints, state: Path) -> None:
    screen = Screen()
    command = f"{_python()} -m infra.local"
    option = "" if state == DEFAULT_STATE else f" --state {state}"
    token = f"{command} token --publisher{option}"
    screen.line("Bulkhead is running, on an embedded stand-in for Azure. Ctrl-C ends both.", "bold")
    rows: list[tuple[str, ...]] = [
        ("Bulkhead's API", f"{found.functions}/api", "described at /api/openapi.json"),
        ("stand-in", found.stand_in, "its control API: tenants, tokens, faults, journal"),
        ("state, logs", f"{state}, {state / 'logs'}", "kept from one start to the next"),
    ]
    if len(found.apps["data"]) > 1:
        rows.insert(1, ("  its processes", " ".join(found.apps["data"]), ""))
    for row in table(rows):
        screen.line(row)
    screen.line()
    screen.line("Try it as the publisher's staff:")
    screen.line(f'  curl -H "Authorization: Bearer $({token})" {found.functions}/api/tenants', "blue")
    screen.line("A tenant of your own, and a token of its administrator:")
    screen.line(f"  {command} tenant deploy acme{option} && {command} tenant register acme{option}", "blue")
    screen.line(f"  {command} token --tenant acme{option}", "blue")
    screen.line("Who does what to which target, live; and everything else:")
    screen.line(f"  {command} journal --follow{option}", "blue")
    screen.line(f"  {command} --help", "blue")


def _python() -> str:
    """Our interpreter as one would type it here."""
    return os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else "python"
