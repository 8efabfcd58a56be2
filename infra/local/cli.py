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
    text = "Bulkhead on an embedded stand-in for Azure, on this machine."
    made = _Parser(prog=PROGRAM, description=text, example="up")
    found = made.add_subparsers(required=True, metavar="COMMAND")
    _add_stack(found)
    _add_tenants(found)
    _add_users(found)
    _add_azure(found)
    _add_journal(found)
    return made


def _add(found: _Commands, run: commands.Command, example: str, state: Path = DEFAULT_STATE) -> _Parser:
    """A command, named and described by the function that carries it out."""
    made = found.add_parser(run.__name__, help=run.__doc__, description=run.__doc__, example=example)
    made.set_defaults(run=run)
    made.add_argument(
        "--state", type=Path, default=state, metavar="DIR", help="directory of the stack (default: %(default)s)"
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def _add_stack(found: _Commands) -> None:
    up = _add(found, commands.up, "up --instances 2 --latency azure")
    text = "app processes behind one front door"
    up.add_argument("--instances", type=_whole(1, 32), default=1, metavar="N", help=text)
    text = "first of the ports; P itself is Bulkhead's API"
    up.add_argument("--base-port", type=_whole(1024, 65_000), metavar="P", help=text)
    up.add_argument("--latency", choices=sorted(LATENCY_MS), default="none", help="answer as slowly as Azure")
    _add(found, commands.demo, "demo", DEFAULT_STATE / "demo")


def _add_tenants(found: _Commands) -> None:
    text = "Deploy, register or delete a tenant."
    tenant = found.add_parser("tenant", help=text, description=text, example="tenant deploy acme")
    verbs = tenant.add_subparsers(required=True, metavar="VERB")
    deploy = _add(verbs, commands.deploy, "tenant deploy acme")
    register = _add(verbs, commands.register, "tenant register acme")
    delete = _add(verbs, commands.delete, "tenant delete acme")
    for verb in (deploy, register, delete):
        verb.add_argument("name", metavar="NAME", help="up to 40 lower-case letters, digits and dashes")
    text = "what the daemon signs in with (default: %(default)s)"
    kinds = ("secret", "certificate", "federated")
    register.add_argument("--credential", choices=kinds, default="secret", help=text)


def _add_users(found: _Commands) -> None:
    token = _add(found, commands.token, "token --tenant acme --roles Reports.Read,Candidates.ReadWrite")
    who = token.add_mutually_exclusive_group(required=True)
    who.add_argument("--tenant", metavar="NAME", help="of a user of this tenant")
    who.add_argument("--publisher", action="store_true", help="of the publisher's staff")
    token.add_argument(
        "--roles", type=_roles, metavar="A,B",
        help=f"some of {', '.join(sorted(_ROLES))} (default: Tenant.Admin, or Publisher.Operate)",
    )  # fmt: skip
    example = "request --tenant acme --candidate cand_01arz3ndektsv4rrffq69g5fav --package essential"
    request = _add(found, commands.request, example)
    request.add_argument("--tenant", required=True, metavar="NAME")
    request.add_argument("--candidate", required=True, metavar="ID", help="as POST /candidates gave it")
    request.add_argument("--package", required=True, metavar="SLUG", help="such as essential or watchlist")


def _add_azure(found: _Commands) -> None:
    _add(found, commands.env, "env")

    rotate = _add(found, commands.rotate, "rotate acme primary")
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument("key", choices=_KEY_KINDS)

    latency = _add(found, commands.latency, "latency key_vault=15 resource_manager=120")
    latency.add_argument(
        "values",
        nargs="*",
        type=_latency,
        metavar="azure|none|SERVICE=MS",
        help="a profile, or milliseconds by service; a service that is not named has none",
    )

    faults = _add(found, commands.faults, "faults --service key_vault --status 503 --times 2")
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
    journal = _add(found, commands.journal, "journal --follow --service resource_manager --refused")
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
