"""What each command of `python -m infra.local` does. Its docstring is what `--help` shows."""

import asyncio
import json
import shlex
from argparse import Namespace
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.local import endpoints
from infra.local.client import Client
from infra.local.journal import Filter, Printer
from infra.local.screen import Screen, program, table


class UsageError(Exception):
    """The command line says what cannot be done."""


type Command = Callable[[Namespace], Coroutine[Any, Any, int]]

_FOLLOW_POLL = 0.2  # seconds
_RULE = ("service", "operation", "target", "status", "retry_after", "delay_ms", "drop", "times", "probability")


async def up(options: Namespace) -> int:
    """Start stand-in and app and keep them running; Ctrl-C ends both."""
    from infra.local.up import run  # noqa: PLC0415 - the other commands need no stack of their own

    return await run(options)


async def demo(options: Namespace) -> int:
    """Run the main job to its end over a fresh state, and show what happened."""
    from infra.local.demo.run import run  # noqa: PLC0415 - loads Azure's SDKs, which the other commands do not need

    return await run(options.state, as_json=options.json)


async def deploy(options: Namespace) -> int:
    """A customer deploys the managed application into its own subscription."""
    async with _client(options) as client:
        made = await client.control("POST", "/tenants", {"name": options.name})
    _show(options, made, f"Deployed '{options.name}'. Register it with: {program()} tenant register {options.name}")
    return 0


async def register(options: Namespace) -> int:
    """The publisher makes the tenant's daemon and registers it with Bulkhead."""
    async with _client(options) as client:
        made = await client.register(options.name, options.credential)
    _show(
        options,
        made,
        f"Registered '{options.name}'. A token of its administrator: {program()} token --tenant {options.name}",
    )
    return 0


async def delete(options: Namespace) -> int:
    """A customer deletes the managed application, and with it all its data."""
    async with _client(options) as client:
        await client.deployment(options.name)
        await client.control("DELETE", f"/tenants/{options.name}")
    _show(options, {"name": options.name, "deleted": True}, f"Deleted '{options.name}' with its data.")
    return 0


async def token(options: Namespace) -> int:
    """Print a user's access token for Bulkhead's API."""
    default = ("Publisher.Operate",) if options.publisher else ("Tenant.Admin",)
    async with _client(options) as client:
        if options.tenant:
            await client.deployment(options.tenant)
        made = await client.token(options.tenant, default if options.roles is None else options.roles)
    print(json.dumps({"access_token": made}) if options.json else made)
    return 0


async def request(options: Namespace) -> int:
    """Put a signed order of a check on the queue, as a tenant's HR system."""
    # loads Azure's SDK for Service Bus
    from infra.local.signing import QUEUE, REJECTED, HrSystem, put_on_queue  # noqa: PLC0415

    async with _client(options) as client:
        system = HrSystem(options.state, await client.deployment(options.tenant), client.endpoints)
        await system.register_key(client)
        message = system.order(options.candidate, options.package)
        await put_on_queue(client.endpoints.service_bus_connection_string, [message])
    _show(
        options,
        {"queue": QUEUE, "message": message},
        f"On the queue {QUEUE}, signed by {system.key_id}. Bulkhead makes a report of it (GET /api/reports), "
        f"or moves it to {REJECTED} with its reason.",
    )
    return 0


async def env(options: Namespace) -> int:
    """Print the environment in which a process reaches the stand-in under Azure's names, for eval in a shell."""
    values = endpoints.load(options.state).env
    if options.json:
        print(json.dumps(values))
    else:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()))
    return 0


async def rotate(options: Namespace) -> int:
    """The customer regenerates a key of its Cosmos DB account."""
    async with _client(options) as client:
        account = (await client.deployment(options.name))["cosmos_account"]
        done = await client.control("POST", f"/cosmos/{account}/regenerate", {"key_kind": options.key})
    _show(options, done, f"The {options.key} key of {account} is another one now.")
    return 0


async def latency(options: Namespace) -> int:
    """Show or set how slowly the stand-in answers."""
    async with _client(options) as client:
        if options.values:
            wanted = {name: value for values in options.values for name, value in values.items()}
            now = await client.control("PUT", "/latency", wanted)
        else:
            now = await client.control("GET", "/latency")
    _show(options, {name: f"{value:g} ms" for name, value in now.items()} if not options.json else now)
    return 0


async def faults(options: Namespace) -> int:
    """Show faults in force, add one, or clear them."""
    rule = {name: value for name in _RULE if (value := getattr(options, name)) is not None}
    if rule and "service" not in rule:
        raise UsageError("A fault needs --service NAME: which service fails?")
    async with _client(options) as client:
        if options.clear:
            await client.control("DELETE", "/faults")
        rules = (await client.control("GET", "/faults"))["rules"]
        if rule:
            rules = (await client.control("PUT", "/faults", {"rules": [*rules, rule]}))["rules"]
    if options.json:
        print(json.dumps({"rules": rules}))
    else:
        for one in rules:
            print(", ".join(f"{name} {value}" for name, value in one.items() if value not in (None, False)))
        if not rules:
            print("No faults are in force.")
    return 0


async def journal(options: Namespace) -> int:
    """Who did what to which target in the stand-in, request by request."""
    number, after = options.since, ""
    if isinstance(options.since, timedelta):
        number, after = 0, (datetime.now(UTC) - options.since).isoformat()
    everything = options.json or options.service is not None
    wanted = Filter(service=options.service, refused=options.refused, after=after, plumbing=everything)
    async with _client(options) as client:
        printer = Printer(Screen())
        while True:
            found, number = await client.journal(number)
            found = [entry for entry in found if wanted.takes(entry)]
            if options.json:
                for entry in found:
                    print(json.dumps(entry), flush=True)
            elif found:
                printer.show(found, await client.names())
            if not options.follow:
                return 0
            await asyncio.sleep(_FOLLOW_POLL)


def _client(options: Namespace) -> Client:
    return Client(endpoints.load(options.state))


def _show(options: Namespace, result: dict[str, Any], closing: str = "") -> None:
    if options.json:
        print(json.dumps(result))
        return
    rows = [(name, value) for name, value in result.items() if isinstance(value, str)]
    print("\n".join(table(rows, indent=0)))
    if closing:
        print(closing)
