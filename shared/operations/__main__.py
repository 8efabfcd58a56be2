"""`python -m shared.operations`: docs/operations.md shows each command.

Exit codes: 0 all is well, 1 something is not (a flaw in a log, a message that is not there), 2 it could not be done.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence

from shared.adapters.waiting_messages import PLACES
from shared.bootstrap import App
from shared.core.errors import BulkheadError
from shared.core.ids import TenantId
from shared.operations import access_log, messages
from shared.settings import Settings, SettingsError

type _Command = Callable[[App, argparse.Namespace], Coroutine[None, None, int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(options.run, options))
    except (BulkheadError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2


async def _run(command: _Command, options: argparse.Namespace) -> int:
    application = App(Settings.from_env())
    try:
        return await command(application, options)
    finally:
        await application.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shared.operations", description="Bulkhead, for its operators.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    log = commands.add_parser("access-log", help="A tenant's record of disclosures.")
    verbs = log.add_subparsers(required=True, metavar="VERB")
    verify = _add(verbs, "verify", "Show whether a tenant's access log is whole and unchanged.", access_log.verify)
    verify.add_argument("--tenant", required=True, type=TenantId, metavar="ID", help="Bulkhead's id of the tenant")

    queue = commands.add_parser("messages", help="Messages that wait for a person.")
    verbs = queue.add_subparsers(required=True, metavar="VERB")
    places = f"where: {', '.join(PLACES)} (of a queue whose messages are not rejected, its dead letters)"
    for verb, text, run in (
        ("list", "List what waits, oldest first.", messages.show_all),
        ("read", "Show messages with their bodies.", messages.read),
        ("send-again", "Put messages on their queue again, and take them from here.", messages.send_again),
    ):
        made = _add(verbs, verb, text, run)
        made.add_argument("place", choices=PLACES, metavar="PLACE", help=places)
        if verb != "list":
            made.add_argument("numbers", type=int, nargs="+", metavar="NUMBER")
    return parser


def _add(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str, run: _Command
) -> argparse.ArgumentParser:
    made = verbs.add_parser(name, help=text, description=text)
    made.set_defaults(run=run)
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


if __name__ == "__main__":
    sys.exit(main())
