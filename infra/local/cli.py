"""The command line `python -m infra.local`: what can be said. What is then done is in commands.py, up.py and demo/.

Exit codes: 0 all went well, 1 it did not (stderr says what to do), 2 the command line is wrong.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import aiohttp

from infra.local import commands
from infra.local.client import ControlError
from infra.local.endpoints import DEFAULT_STATE, NotRunningError, RunningError
from infra.local.host.errors import StartError
from infra.local.stack import LATENCY_MS

_KEY_KINDS = ("primary", "secondary", "primaryReadonly", "secondaryReadonly")


def main(arguments: list[str]) -> int:
    """Run one command; gives the exit code."""
    options = _parser().parse_args(arguments)
    run: commands.Command = options.run
    try:
        return asyncio.run(run(options))
    except (NotRunningError, RunningError, StartError, ControlError, ValueError) as error:
        print(f"{error}", file=sys.stderr)
    except aiohttp.ClientError as error:
        print(f"The stack does not answer ({error}). Look into its logs, or start it again: make up", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local", description="Bulkhead on an embedded stand-in for Azure, on this machine."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, description: str, run: commands.Command, *, state: Path = DEFAULT_STATE
    ) -> argparse.ArgumentParser:
        return _add(subparsers, name, description, run, state)

    up = command("up", "Start stand-in and app and keep them running; Ctrl-C ends both.", commands.up)
    up.add_argument("--instances", type=_count, default=1, metavar="N", help="app processes behind one front door")
    up.add_argument("--base-port", type=_port, metavar="P", help="first of the ports; P itself is Bulkhead's API")
    up.add_argument("--latency", choices=sorted(LATENCY_MS), default="none", help="answer as slowly as Azure")

    text = "Run the main job to its end over a fresh state, and show what happened."
    command("demo", text, commands.demo, state=DEFAULT_STATE / "demo")

    tenant = subparsers.add_parser("tenant", help="Deploy, register or delete a tenant.")
    verbs = tenant.add_subparsers(required=True, metavar="VERB")
    for verb, run, text in (
        ("deploy", commands.deploy, "A customer deploys the managed application into its own subscription."),
        ("register", commands.register, "The publisher makes the tenant's daemon and registers it with Bulkhead."),
        ("delete", commands.delete, "A customer deletes the managed application, and with it all its data."),
    ):
        made = _add(verbs, verb, text, run, DEFAULT_STATE)
        made.add_argument("name", metavar="NAME")
        if verb == "register":
            made.add_argument(
                "--credential",
                choices=("secret", "certificate", "federated"),
                default="secret",
                help="what the daemon signs in with",
            )

    token = command("token", "Print a user's access token for Bulkhead's API.", commands.token)
    who = token.add_mutually_exclusive_group(required=True)
    who.add_argument("--tenant", metavar="NAME", help="of a user of this tenant")
    who.add_argument("--publisher", action="store_true", help="of the publisher's staff")
    token.add_argument(
        "--roles", metavar="A,B", help="default: Tenant.Admin for a tenant, Publisher.Operate for the publisher"
    )

    request = command(
        "request", "Put a signed order of a check on the queue, as a tenant's HR system.", commands.request
    )
    request.add_argument("--tenant", required=True, metavar="NAME")
    request.add_argument("--candidate", required=True, metavar="ID")
    request.add_argument("--package", required=True, metavar="SLUG")

    rotate = command("rotate", "The customer regenerates a key of its Cosmos DB account.", commands.rotate)
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument("key", choices=_KEY_KINDS)

    latency = command("latency", "Show or set how slowly the stand-in answers.", commands.latency)
    latency.add_argument(
        "values",
        nargs="*",
        metavar="azure|none|SERVICE=MS",
        help="a profile, or milliseconds by service; a service that is not named has none",
    )

    _faults(command("faults", "Show faults in force, add one, or clear them.", commands.faults))

    journal = command("journal", "Who did what to which target in the stand-in.", commands.journal)
    journal.add_argument("--since", type=int, default=0, metavar="SEQ", help="from this entry on")
    journal.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    return parser


def _add(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    description: str,
    run: commands.Command,
    state: Path,
) -> argparse.ArgumentParser:
    made = subparsers.add_parser(name, help=description, description=description)
    made.set_defaults(run=run)
    made.add_argument(
        "--state", type=Path, default=state, metavar="DIR", help="directory of the stack (default: %(default)s)"
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def _faults(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear", action="store_true", help="remove all")
    rule = parser.add_argument_group("a new fault")
    rule.add_argument(
        "--service", metavar="NAME", help="such as key_vault, entra, resource_manager, cosmos, service_bus"
    )
    rule.add_argument("--operation", metavar="NAME", help="as the journal names it, such as list_keys")
    rule.add_argument("--target", metavar="TEXT", help="only targets that contain this")
    rule.add_argument("--status", type=int, metavar="CODE", help="answer with this error")
    rule.add_argument("--retry-after", type=float, metavar="SECONDS", help="in the error; alone it means 429")
    rule.add_argument("--delay-ms", type=float, metavar="MS", help="answer later")
    rule.add_argument("--drop", choices=("request", "answer"), help="cut the connection before or after it is done")
    rule.add_argument("--times", type=int, metavar="N", help="only so often")
    rule.add_argument("--probability", type=float, metavar="P", help="0 to 1")


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 32:
        raise argparse.ArgumentTypeError("must be 1 to 32")
    return int(text)


def _port(text: str) -> int:
    if not text.isdigit() or not 1024 <= int(text) <= 65_000:
        raise argparse.ArgumentTypeError("must be 1024 to 65000")
    return int(text)
