"""`python -m infra.local.host --app DIR --port P`: one host process. App settings come from its environment."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from infra.local.host.errors import StartError
from infra.local.host.host import Host
from infra.local.host.logs import HOST, write_line
from infra.local.processes import told_to_end, write_whole


def main() -> int:
    """Run until SIGTERM or SIGINT: 0. An application that can't be started: 1, with the reason on stdout."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.host", description=__doc__)
    parser.add_argument("--app", type=Path, required=True, help="folder with function_app.py and host.json")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--name", default="functions", help="name of this host in its status")
    parser.add_argument("--state", type=Path, default=Path(".local/functions"), help="folder for keys and timers")
    parser.add_argument("--ready-file", type=Path, help="file that is written once the host is ready")
    parser.add_argument("--drain-seconds", type=float, default=30.0, help="time for running invocations at the end")
    parser.add_argument("--parent", type=int, help="process that started this one; the host ends when it is gone")
    arguments = parser.parse_args()
    status = asyncio.run(_run(arguments))
    sys.stdout.flush()
    os._exit(status)  # a synchronous function's thread that never ends must not keep the process


async def _run(arguments: argparse.Namespace) -> int:
    ready = arguments.ready_file.resolve() if arguments.ready_file else None
    told = told_to_end(arguments.parent)
    host = Host(arguments.app, arguments.state, arguments.name, os.environ)
    try:
        port = await host.start(arguments.port)
    except StartError as error:
        write_line(f"The host can't start: {error}")
        return 1
    if ready:
        write_whole(ready, json.dumps({"url": f"http://127.0.0.1:{port}", "pid": os.getpid()}))
    host.failure.add_done_callback(lambda _: told.set())
    await told.wait()
    if host.failure.done():
        HOST.error("%s The host process ends, to be started again.", host.failure.result())
        return 1
    await host.stop(arguments.drain_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
