"""Processes that carry out commands, so that whatever is measured has a process of its own.

A command is one line of JSON on the process's stdin; its answer is one line of JSON on its stdout.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.harness.stack import ROOT


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a measured process: `env`, byte code that is written once and found again, no debugging."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    cache = ROOT / "build" / "bench" / "pycache"
    return kept | dict(env) | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(cache)}


class Process:
    """A running process that takes commands."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have one command carried out. Raises RuntimeError when the process ends instead of answering."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()} at '{do}'")
        return json.loads(line)


@contextmanager
def process(module: str, *arguments: str, env: Mapping[str, str]) -> Iterator[Process]:
    """Run `python -m module arguments` until the block ends."""
    running = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Process(running)
    finally:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.close()  # the end of its commands is its end
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        running.stdout.close()


def serve(commands: Mapping[str, Callable[..., Awaitable[Any]]], end: Callable[[], Awaitable[None]]) -> None:
    """The process's side: carry out commands on one event loop until stdin ends, then `end`."""
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            command = json.loads(line)
            answer = runner.run(commands[command.pop("do")](**command))
            print(json.dumps(answer), flush=True)  # noqa: T201 - the answer
        runner.run(end())
        os._exit(0)  # a Functions app is ended, not closed: what it still holds open is no leak
