"""The command line `python -m infra.local`: what can be said. What is then done is in commands.py, up.py and demo/.

Exit codes: 0 all went well, 1 it did not (stderr says what to do), 2 the command line is wrong, 130 Ctrl-C.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import aiohttp

from infra.local import commands
from infra.local.client import ControlError
from infra.local.endpoints import DEFAULT_STATE, NotRunningError, RunningError
from infra.local.host.errors import StartError
from infra.local.stack import LATENCY_MS
from infra.local.standin.wire import SERVICES
from shared.core.policy import PUBLISHER_ROLES, TENANT_ROLES

PROGRAM = "python -m infra.local"
_KEY_KINDS = ("primary", "secondary", "primaryReadonly", "secondaryReadonly")
_ROLES = frozenset[str]().union(*TENANT_ROLES.values(), *PUBLISHER_ROLES.values())
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}


def main(arguments: list[str]) -> int:
    """Run one command; gives the exit code."""
    options = parser().parse_args(arguments)
    run: commands.Command = options.run
    try:
        return asyncio.run(run(options))
    except commands.UsageError as error:
        _complain(f"{error}")
        return 2
    except (NotRunningError, RunningError, StartError, ControlError) as error:
        _complain(f"{error}")
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
    except (aiohttp.ClientError, TimeoutError) as error:
        _complain(
            f"The stack does not answer ({str(error) or type(error).__name__}). "
            f"Look into {options.state / 'logs'}, or end it and start it again: make up"
        )
    except OSError as error:  # such as a state directory that cannot be written
        _complain(f"{error.strerror}: {error.filename or options.state}. Choose another directory with --state.")
    return 1


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Shows each command's example, and points to the help after an error."""

    def __init__(self, *, example: str = "", **more: object) -> None:
        epilog = f"example:\n  {PROGRAM} {example}" if example else None
        super().__init__(
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **more,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{message}\nMore is told by: {self.prog} --help\n")


type _Commands = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001 - argparse has no public name for it


def parser() -> argparse.ArgumentParser:
    """The parser of everything; `run` of what it gives is the command's coroutine function."""
    made = _Parser(
        prog=PROGRAM,
        description="Bulkhead on an embedded stand-in for Azure, on this machine.",
        example="up",
    )
    found = made.add_subparsers(required=True, metavar="COMMAND")
    _add_stack(found)
    _add_tenants(found)
    _add_users(found)
    _add_azure(found)
    _add_journal(found)
    return made


def _add(
    found: _Commands,
    name: str,
    description: str,
    run: commands.Command,
    example: str,
    state: Path = DEFAULT_STATE,
) -> _Parser:
    made = found.add_parser(name, help=description, description=description, example=example)
    made.set_defaults(run=run)
    made.add_argument(
        "--state", type=Path, default=state, metavar="DIR", help="directory of the stack (default: %(default)s)"
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def _add_stack(found: _Commands) -> None:
    up = _add(
        found, "up", "Start stand-in and app and keep them running; Ctrl-C ends both.", commands.up,
        "up --instances 2 --latency azure",
    )  # fmt: skip
    text = "app processes behind one front door"
    up.add_argument("--instances", type=_whole(1, 32), default=1, metavar="N", help=text)
    text = "first of the ports; P itself is Bulkhead's API"
    up.add_argument("--base-port", type=_whole(1024, 65_000), metavar="P", help=text)
    up.add_argument("--latency", choices=sorted(LATENCY_MS), default="none", help="answer as slowly as Azure")
    text = "Run the main job to its end over a fresh state, and show what happened."
    _add(found, "demo", text, commands.demo, "demo", DEFAULT_STATE / "demo")


def _add_tenants(found: _Commands) -> None:
    text = "Deploy, register or delete a tenant."
    tenant = found.add_parser("tenant", help=text, description=text, example="tenant deploy acme")
    verbs = tenant.add_subparsers(required=True, metavar="VERB")
    for verb, run, text in (
        ("deploy", commands.deploy, "A customer deploys the managed application into its own subscription."),
        ("register", commands.register, "The publisher makes the tenant's daemon and registers it with Bulkhead."),
        ("delete", commands.delete, "A customer deletes the managed application, and with it all its data."),
    ):
        made = _add(verbs, verb, text, run, f"tenant {verb} acme")
        made.add_argument("name", metavar="NAME", help="up to 40 lower-case letters, digits and dashes")
        if verb == "register":
            made.add_argument(
                "--credential",
                choices=("secret", "certificate", "federated"),
                default="secret",
                help="what the daemon signs in with (default: %(default)s)",
            )


def _add_users(found: _Commands) -> None:
    token = _add(
        found, "token", "Print a user's access token for Bulkhead's API.", commands.token,
        "token --tenant acme --roles Reports.Read,Candidates.ReadWrite",
    )  # fmt: skip
    who = token.add_mutually_exclusive_group(required=True)
    who.add_argument("--tenant", metavar="NAME", help="of a user of this tenant")
    who.add_argument("--publisher", action="store_true", help="of the publisher's staff")
    token.add_argument(
        "--roles", type=_roles, metavar="A,B",
        help=f"some of {', '.join(sorted(_ROLES))} (default: Tenant.Admin, or Publisher.Operate)",
    )  # fmt: skip
    request = _add(
        found, "request", "Put a signed order of a check on the queue, as a tenant's HR system.", commands.request,
        "request --tenant acme --candidate cand_01arz3ndektsv4rrffq69g5fav --package essential",
    )  # fmt: skip
    request.add_argument("--tenant", required=True, metavar="NAME")
    request.add_argument("--candidate", required=True, metavar="ID", help="as POST /candidates gave it")
    request.add_argument("--package", required=True, metavar="SLUG", help="such as essential or watchlist")


def _add_azure(found: _Commands) -> None:
    text = "Print the environment in which a process reaches the stand-in under Azure's names, for eval in a shell."
    _add(found, "env", text, commands.env, "env")

    text = "The customer regenerates a key of its Cosmos DB account."
    rotate = _add(found, "rotate", text, commands.rotate, "rotate acme primary")
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument("key", choices=_KEY_KINDS)

    text = "Show or set how slowly the stand-in answers."
    latency = _add(found, "latency", text, commands.latency, "latency key_vault=15 resource_manager=120")
    latency.add_argument(
        "values",
        nargs="*",
        type=_latency,
        metavar="azure|none|SERVICE=MS",
        help="a profile, or milliseconds by service; a service that is not named has none",
    )

    faults = _add(
        found, "faults", "Show faults in force, add one, or clear them.", commands.faults,
        "faults --service key_vault --status 503 --times 2",
    )  # fmt: skip
    faults.add_argument("--clear", action="store_true", help="remove all")
    rule = faults.add_argument_group("a new fault")
    rule.add_argument("--service", choices=SERVICES, metavar="NAME", help=f"one of {', '.join(SERVICES)}")
    rule.add_argument("--operation", metavar="NAME", help="as the journal names it, such as list_keys")
    rule.add_argument("--target", metavar="TEXT", help="only targets that contain this")
    rule.add_argument("--status", type=_whole(400, 599), metavar="CODE", help="answer with this error")
    rule.add_argument("--retry-after", type=_positive, metavar="SECONDS", help="in the error; alone it means 429")
    rule.add_argument("--delay-ms", type=_positive, metavar="MS", help="answer later")
    rule.add_argument("--drop", choices=("request", "answer"), help="cut the connection before or after it is done")
    rule.add_argument("--times", type=int, metavar="N", help="only so often")
    rule.add_argument("--probability", type=_probability, metavar="P", help="0 to 1")


def _add_journal(found: _Commands) -> None:
    journal = _add(
        found, "journal", "Who did what to which target in the stand-in, request by request.", commands.journal,
        "journal --follow --service resource_manager --refused",
    )  # fmt: skip
    journal.add_argument(
        "--since", type=_since, default=0, metavar="SEQ|TIME",
        help="from the entry of this number on, or the last so many seconds, minutes, hours: 30s, 5m, 1h",
    )  # fmt: skip
    journal.add_argument("--service", choices=SERVICES, metavar="NAME", help=f"one of {', '.join(SERVICES)}")
    journal.add_argument("--refused", action="store_true", help="only what was refused (401, 403)")
    journal.add_argument("--follow", action="store_true", help="go on until Ctrl-C")


def _whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be {least} to {most}")
        return int(text)

    return number


def _positive(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise argparse.ArgumentTypeError("must be a number, 0 or more")
    return float(text)


def _probability(text: str) -> float:
    if (value := _positive(text)) > 1:
        raise argparse.ArgumentTypeError("must be 0 to 1")
    return value


def _roles(text: str) -> tuple[str, ...]:
    roles = tuple(role.strip() for role in text.split(",") if role.strip())
    if unknown := [role for role in roles if role not in _ROLES]:
        raise argparse.ArgumentTypeError(f"there is no role {unknown[0]}; there are {', '.join(sorted(_ROLES))}")
    return roles


def _latency(text: str) -> dict[str, float]:
    """A profile's name or `SERVICE=MS`, as milliseconds by service."""
    if text in LATENCY_MS:
        return LATENCY_MS[text]
    name, _, milliseconds = text.partition("=")
    if name not in SERVICES:
        raise argparse.ArgumentTypeError(
            f"'{text}' is none of azure, none, SERVICE=MS; services: {', '.join(SERVICES)}"
        )
    return {name: _positive(milliseconds)}


def _since(text: str) -> int | timedelta:
    found = re.fullmatch(r"(\d{1,9})([smh]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError("must be an entry's number, or a time such as 30s, 5m, 1h")
    number, unit = found.groups()
    return timedelta(**{_UNITS[unit]: int(number)}) if unit else int(number)
