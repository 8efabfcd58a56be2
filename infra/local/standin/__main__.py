"""`python -m infra.local.standin --state DIR [--base-port P]`: the stand-in alone, in the foreground."""

import argparse
import asyncio
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
    asyncio.run(run(options.state, options.base_port, options.parent))


if __name__ == "__main__":
    main()
