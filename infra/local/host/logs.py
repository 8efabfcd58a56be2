"""Log lines as a user of Azure Functions Core Tools knows them: `[2026-11-24T08:00:00.000Z] text`, on stdout at once.

Holds no query strings, headers or bodies: the host never logs them, and an application's own records are its affair.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

LEVELS = {"Trace": 1, "Debug": 10, "Information": 20, "Warning": 30, "Error": 40, "Critical": 50, "None": 1000}
"""Azure's levels as Python's numbers."""

# A tree of its own: what the application does to Python's loggers does not reach the host's.
_categories = logging.Manager(logging.RootLogger(LEVELS["Information"]))


def category(name: str) -> logging.Logger:
    """What writes records of a category such as `Function.echo`."""
    return _categories.getLogger(name)


HOST = category("Host.General")


def set_levels(levels: Mapping[str, str]) -> None:
    """Write only records of at least these `levels`, by category: host.json's `logging.logLevel`.

    The longest prefix of a category that has a level decides, else `default`, else Information.
    """
    for name, level in levels.items():
        (_categories.root if name == "default" else category(name)).setLevel(LEVELS[level])


def log_failure(task: "asyncio.Task[None]") -> None:
    """A done callback for tasks that nobody awaits: what ends them unforeseen is logged."""
    if not task.cancelled() and (error := task.exception()):
        HOST.error("A task of the host failed.", exc_info=error)


def write_line(text: str) -> None:
    """Write one record to stdout, unbuffered and unfiltered.

    Further lines of `text` are indented, so that none can pass for a record of its own.
    """
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")[:-6]
    data = memoryview(f"[{moment}Z] {text.rstrip().replace('\n', '\n    ')}\n".encode("utf-8", "backslashreplace"))
    with contextlib.suppress(OSError):  # nobody reads any more; the work goes on
        while data:  # a pipe may take less than all of it
            data = data[os.write(1, data) :]


def capture_python_logging(running: Callable[[], str | None]) -> None:
    """Write the application's log records too. `running` names the category of the running function, None outside.

    The root logger stands at INFO, or DEBUG with PYTHON_ENABLE_DEBUG_LOGGING, as the Python worker sets it.
    """
    root = logging.getLogger()
    handler = _Stdout()
    handler.addFilter(lambda record: category(running() or "Worker").isEnabledFor(record.levelno))
    root.handlers[:] = [handler]
    debug = os.environ.get("PYTHON_ENABLE_DEBUG_LOGGING", "").strip().lower() in ("1", "true", "t", "yes", "y")
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    # The worker reports its own steps and, a second time, each function's exception; the host writes both itself.
    logging.getLogger("azure.functions").setLevel(logging.CRITICAL)
    # The host's receivers would tell of every frame; Azure's host is not written in Python.
    logging.getLogger("azure.servicebus").setLevel(logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


class _Stdout(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            write_line(self.format(record))
        except Exception:  # noqa: BLE001 - a record that can't be formatted must not break the application
            self.handleError(record)


_categories.root.addHandler(_Stdout())
