"""Messages that wait for a person: orders that were rejected, and dead letters."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence

import msgspec

from shared.adapters.waiting_messages import WaitingMessage
from shared.bootstrap import App
from shared.operations.terminal import printable


async def show_all(application: App, options: Namespace) -> int:
    """Print every message without its body. Raises BulkheadError."""
    found = await application.waiting_messages.all(options.place)
    if options.json:
        _print_json([_without_body(one) for one in found])
    for one in [] if options.json else found:
        print(f"{one.number:>6}  {one.enqueued_at}  {printable(one.reason)}  deliveries {one.deliveries}")
    if not found and not options.json:
        print("Nothing waits here.")
    return 0


async def read(application: App, options: Namespace) -> int:
    """Print messages with their bodies; 1 when one of them is not there. Raises BulkheadError."""
    found = [one for one in await application.waiting_messages.all(options.place) if one.number in options.numbers]
    if options.json:
        _print_json([msgspec.to_builtins(one) for one in found])
    for one in [] if options.json else found:
        lines = (f"{name}: {printable(str(value))}" for name, value in msgspec.to_builtins(one).items())
        print("\n".join(lines), end="\n\n")
    missing = [number for number in options.numbers if number not in {one.number for one in found}]
    for number in missing:
        print(f"{number:>6}  is not there", file=sys.stderr)
    return 1 if missing else 0


async def send_again(application: App, options: Namespace) -> int:
    """Send messages again; 1 when one of them is not there. Raises BulkheadError."""
    sent = await application.waiting_messages.send_again(options.place, options.numbers)
    if options.json:
        _print_json([{"number": number, "sent": number in sent} for number in options.numbers])
    for number in [] if options.json else options.numbers:
        print(f"{number:>6}  {'sent again' if number in sent else 'is not there'}")
    return 0 if sent == set(options.numbers) else 1


def _without_body(message: WaitingMessage) -> dict[str, object]:
    shown: dict[str, object] = msgspec.to_builtins(message)
    del shown["body"]
    return shown


def _print_json(messages: Sequence[object]) -> None:
    print(json.dumps({"messages": messages}))  # all in ASCII: these texts are strangers'
