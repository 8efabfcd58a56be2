"""The demonstration from its beginning to its end. Exit code 0 only if every claim held."""

import asyncio
import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

import aiohttp
from azure.core.exceptions import AzureError

from infra.local import endpoints
from infra.local.client import Client, ControlError
from infra.local.demo.checks import Checks
from infra.local.demo.story import Story
from infra.local.lab import Lab
from infra.local.screen import Screen
from infra.local.stack import Stack

_LIMIT = 110.0  # seconds for everything


async def run(state: Path, *, as_json: bool) -> int:
    """Run over a fresh `state`. Raises RunningError, StartError, ControlError, ValueError."""
    screen = Screen(sys.stderr if as_json else None)
    checks = Checks(screen)
    began = time.monotonic()
    _wipe(state)
    screen.line("Bulkhead: background checks for two companies, each with its data in an account of its own.", "bold")
    screen.line("Azure is played by an embedded stand-in that answers as slowly as Azure and refuses as Azure does.")
    screen.line("Every line that begins with 'ok' is a claim that was checked; all of them must hold.")
    stack = Stack(state, latency="azure")
    try:
        async with asyncio.timeout(_LIMIT):
            async with Client(await stack.start()) as client:
                screen.line(f"Started in {time.monotonic() - began:.1f} s: {client.endpoints.functions}", "dim")
                await Story(Lab(client, state), checks).tell()
    except TimeoutError:
        checks.expect(False, f"everything is done within {_LIMIT:.0f} s")  # noqa: FBT003 - reads as assert does
    except (ControlError, AzureError, aiohttp.ClientError) as error:
        checks.expect(False, "everything goes to its end", str(error))  # noqa: FBT003 - likewise
    finally:
        await stack.stop()
    return sum_up(checks, screen, state, time.monotonic() - began, as_json=as_json)


def sum_up(checks: Checks, screen: Screen, state: Path, seconds: float, *, as_json: bool) -> int:
    """Say whether all claims held; gives the exit code."""
    if as_json:
        claims = [asdict(check) for check in checks.all]
        print(json.dumps({"ok": not checks.failed, "seconds": round(seconds, 1), "checks": claims}))
    screen.line()
    if not checks.failed:
        screen.line(f"All {len(checks.all)} claims held, in {seconds:.0f} s.", "bold", "green")
        screen.line("To look around yourself: make up, and the session with curl in README.md.")
        return 0
    screen.line(f"{len(checks.failed)} of {len(checks.all)} claims did not hold:", "bold", "red")
    for check in checks.failed:
        screen.line(f"  {check.claim}" + (f": {check.seen}" if check.seen else ""))
    screen.line(f"The logs are in {state / 'logs'}.")
    return 1


def _wipe(state: Path) -> None:
    """Begin afresh. Raises RunningError; ControlError for a directory that no stack has made."""
    if state.exists() and any(state.iterdir()) and not endpoints.was_made_by_a_stack(state):
        raise ControlError(
            f"'{state}' holds something else than a stack's state, and is not deleted for a demonstration. "
            "Choose another directory with --state."
        )
    with endpoints.lock(state):
        shutil.rmtree(state)
