"""Log lines as a user of Azure Functions Core Tools knows them: `[2026-11-24T08:00:00.000Z] text`, on stdout at once.

Holds no query strings, headers or bodies: the host never logs them, and an application's own records are its affair.
"""

import asyncio
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

from infra.local.host.host_file import LEVELS, HostOptions, Level

_PYTHON_LEVELS: tuple[tuple[int, Level], ...] = (
    (logging.CRITICAL, "Critical"),
    (logging.ERROR, "Error"),
    (logging.WARNING, "Warning"),
    (logging.INFO, "Information"),
    (logging.DEBUG, "Debug"),
)
_RANK = {level: rank for rank, level in enumerate(LEVELS)}


class HostLog:
    """Writes lines of enabled categories. `host.json`'s `logging.logLevel` decides what is enabled."""

    def __init__(self, options: HostOptions) -> None:
        self._options = options
        self._least: dict[str, int] = {}

    def write(self, category: str, level: Level, text: str) -> None:
        """Write one record. Further lines of `text` are indented, so that none can pass for a record of its own."""
        least = self._least.get(category)
        if least is None:
            least = self._least[category] = _RANK[self._options.log_level(category)]
        if _RANK[level] >= least:
            write_line(text)

    def host(self, text: str) -> None:
        """A line of the host itself."""
        self.write("Host.General", "Information", text)

    def host_warning(self, text: str) -> None:
        """A line of the host itself that wants attention."""
        self.write("Host.General", "Warning", text)

    def host_error(self, text: str) -> None:
        """A line of the host itself about something that failed."""
        self.write("Host.General", "Error", text)


def log_failure(log: HostLog, task: "asyncio.Task[None]") -> None:
    """A done callback for tasks that nobody awaits: what ends them unforeseen is logged."""
    if not task.cancelled() and (error := task.exception()):
        log.host_error("".join(traceback.format_exception(error)).rstrip())


def write_line(text: str) -> None:
    """Write one record to stdout, unbuffered and unfiltered."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")[:-6]
    data = memoryview(f"[{moment}Z] {text.replace('\n', '\n    ')}\n".encode("utf-8", "backslashreplace"))
    with contextlib.suppress(OSError):  # nobody reads any more; the work goes on
        while data:  # a pipe may take less than all of it
            data = data[os.write(1, data) :]


def capture_python_logging(log: HostLog, category: Callable[[], str | None]) -> None:
    """Send the application's log records to `log`. `category` names the running function's, None outside of one.

    The root logger stands at INFO, or DEBUG with PYTHON_ENABLE_DEBUG_LOGGING, as the Python worker sets it.
    """
    root = logging.getLogger()
    root.handlers[:] = [_Handler(log, category)]
    debug = os.environ.get("PYTHON_ENABLE_DEBUG_LOGGING", "").strip().lower() in ("1", "true", "t", "yes", "y")
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    # The worker reports its own steps and, a second time, each function's exception; the host writes both itself.
    logging.getLogger("azure.functions").setLevel(logging.CRITICAL)
    # The host's receivers would tell of every frame; Azure's host is not written in Python.
    logging.getLogger("azure.servicebus").setLevel(logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


class _Handler(logging.Handler):
    def __init__(self, log: HostLog, category: Callable[[], str | None]) -> None:
        super().__init__()
        self._log = log
        self._category = category

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - a record that can't be formatted must not break the application
            self.handleError(record)
            return
        level: Level = next((name for least, name in _PYTHON_LEVELS if record.levelno >= least), "Trace")
        self._log.write(self._category() or "Worker", level, text)
