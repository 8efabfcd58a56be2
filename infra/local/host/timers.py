"""Timer triggers: schedules, missed runs, single execution across processes.

Source: TimerListener, ScheduleMonitor and TimerInfo of Azure/azure-webjobs-sdk-extensions, and "Timer trigger for
Azure Functions". The status file and the lock take the place of Azure's blobs. Times are UTC, Azure's default.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.local.host.errors import StartError
from infra.local.host.host_file import seconds
from infra.local.host.invocation import Invoker
from infra.local.host.logs import HostLog
from infra.local.host.ncrontab import CronSchedule, ScheduleError
from infra.local.host.settings import Settings
from infra.local.host.worker import Datum, Function

_NEVER = "0001-01-01T00:00:00"
_LOCK_POLL = 1.0  # seconds between attempts to become the process that runs a timer
_LONGEST_SLEEP = 60.0  # seconds; a suspended machine's clock jumps, so no sleep may be trusted for long


@dataclass(slots=True)
class _Interval:
    """A TimeSpan as schedule (`00:05:00`): every so often."""

    expression: str
    length: float

    def after(self, moment: datetime) -> datetime:
        return moment + timedelta(seconds=self.length)


@dataclass(slots=True, frozen=True)
class _Status:
    """When the function last ran (None: never) and when it is due, as ScheduleStatus has it."""

    last: datetime | None
    due: datetime

    def json(self) -> dict[str, str]:
        last = self.last.isoformat() if self.last else _NEVER
        return {"Last": last, "Next": self.due.isoformat(), "LastUpdated": last}


class Timer:
    """One timer function."""

    def __init__(self, function: Function, settings: Settings, folder: Path, invoker: Invoker, log: HostLog) -> None:
        """`folder` keeps status and lock for all processes of the application. Raises StartError for a bad schedule."""
        self.function = function
        expression = settings.resolve(str(function.trigger.get("schedule", "")), function.name)
        self._schedule = _schedule(expression, function.name)
        self._run_on_startup = bool(function.trigger.get("runOnStartup"))
        self._monitored = function.trigger.get("useMonitor") is not False and not _is_frequent(self._schedule)
        self._folder = folder
        self._invoker = invoker
        self._log = log
        self._now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._status: _Status | None = None
        self._current: asyncio.Task[None] | None = None  # the scheduled run under way

    async def run(self) -> None:
        """Keep the schedule until cancelled; while another process holds the lock, stand by.

        A run that has begun ends before this does, and before another process may take over.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{self.function.name}.lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_LOCK_POLL)
            try:
                await self._keep_schedule()
            finally:
                if self._current is not None:
                    await asyncio.wait([self._current])

    async def fire(self) -> None:
        """Run the function now, by hand."""
        await self._invoke("This function was programmatically called via the host APIs.", past_due=False, details="")

    async def _keep_schedule(self) -> None:
        start = self._now()
        self._status = self._read() if self._monitored else None
        if self._status is None:
            self._status = _Status(None, self._schedule.after(start))
            self._write()
        else:
            # the schedule may have been changed since the status was written
            due = self._schedule.after(self._status.last) if self._status.last else self._status.due
            self._status = _Status(self._status.last, due)
        if start > self._status.due:
            self._log.write(
                f"Function.{self.function.name}",
                "Information",
                f"Function '{self.function.name}' is past due on startup. Executing now.",
            )
            details = f"UnscheduledInvocationReason: IsPastDue, OriginalSchedule: {self._status.due.isoformat()}"
            await self._fire_scheduled(past_due=True, details=details)
        elif self._run_on_startup:
            await self._fire_scheduled(on_startup=True, details="UnscheduledInvocationReason: RunOnStartup")
        while True:
            while (wait := (self._status.due - self._now()).total_seconds()) > 0:  # noqa: ASYNC110 - the clock decides
                await asyncio.sleep(min(wait, _LONGEST_SLEEP))
            await self._fire_scheduled()

    async def _fire_scheduled(self, *, past_due: bool = False, on_startup: bool = False, details: str = "") -> None:
        self._current = asyncio.create_task(self._run_scheduled(past_due, on_startup, details))
        await asyncio.shield(self._current)

    async def _run_scheduled(self, past_due: bool, on_startup: bool, details: str) -> None:  # noqa: FBT001 - see above
        assert self._status is not None  # noqa: S101 - _keep_schedule sets it first
        now = self._now()
        await self._invoke(f"Timer fired at {now.isoformat()}", past_due=past_due, details=details)
        # a clock a little behind must not make the same occurrence the next one
        last = now if past_due or on_startup else max(now, self._status.due)
        self._status = _Status(last, self._schedule.after(last))
        self._write()

    async def _invoke(self, reason: str, *, past_due: bool, details: str) -> None:
        status = self._status.json() if self._monitored and self._status else None
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": past_due}
        data = Datum(json.dumps(timer, separators=(",", ":")), "json")
        await self._invoker.run_with_retries(self.function, data, {}, reason, details)

    def _read(self) -> _Status | None:
        try:
            content: dict[str, Any] = json.loads(self._path.read_bytes())
            last = None if content["Last"] == _NEVER else datetime.fromisoformat(content["Last"])
            return _Status(last, datetime.fromisoformat(content["Next"]))
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def _write(self) -> None:
        if self._monitored and self._status:
            draft = self._path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(self._status.json()))
            draft.replace(self._path)

    @property
    def _path(self) -> Path:
        return self._folder / f"{self.function.name}.json"


def _schedule(expression: str, function: str) -> CronSchedule | _Interval:
    try:
        if " " not in expression.strip():
            return _Interval(expression, seconds(expression))
        return CronSchedule(expression)
    except ValueError as error:
        text = str(error) if isinstance(error, ScheduleError) else f"'{expression}' is no schedule"
        raise StartError(f"Function '{function}': {text}.") from None


def _is_frequent(schedule: CronSchedule | _Interval) -> bool:
    """Whether runs lie less than a minute apart: then Azure keeps no status."""
    moment = schedule.after(datetime.now(UTC))
    for _ in range(5):
        following = schedule.after(moment)
        if following - moment < timedelta(minutes=1):
            return True
        moment = following
    return False
