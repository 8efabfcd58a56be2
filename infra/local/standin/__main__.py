"""`python -m infra.local.standin --state DIR [--base-port P]`: the stand-in alone, in the foreground."""

import argparse
import asyncio
import fcntl
from pathlib import Path

from infra.local.standin.stand_in import READY_FILE, run


def main() -> None:
    """Run the stand-in until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.standin", description="The stand-in for Azure, alone.")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(".local"),
        metavar="DIR",
        help=f"where it keeps its state and writes {READY_FILE} once it is ready (default: %(default)s)",
    )
    parser.add_argument(
        "--base-port",
        type=int,
        default=0,
        metavar="P",
        help="first of three consecutive ports: control API, proxy, Service Bus (default: free ports)",
    )
    parser.add_argument("--parent", type=int, metavar="PID", help="process that started this one; it ends with it")
    options = parser.parse_args()
    options.state.mkdir(parents=True, exist_ok=True)
    with (options.state / "standin.lock").open("w") as held:  # two would each write what the other does not know of
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            parser.exit(1, f"A stand-in is running with the state directory '{options.state}' already.\n")
        asyncio.run(run(options.state, options.base_port, options.parent))


if __name__ == "__main__":
    main()
