"""Timer triggers: schedules, missed runs, single execution across processes.

Source: TimerListener, ScheduleMonitor and TimerInfo of Azure/azure-webjobs-sdk-extensions, and "Timer trigger for
Azure Functions". The status file and the lock take the place of Azure's blobs. Times are UTC, Azure's default.
"""

import asyncio
import fcntl
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from infra.local.host.errors import StartError
from infra.local.host.invocation import Invoker
from infra.local.host.logs import category
from infra.local.host.ncrontab import CronSchedule, ScheduleError
from infra.local.host.settings import Settings
from infra.local.host.worker import Datum, Function
from infra.local.processes import write_whole

_NEVER = "0001-01-01T00:00:00"
_LOCK_POLL = 1.0  # seconds between attempts to become the process that runs a timer
_LONGEST_SLEEP = 60.0  # seconds; a suspended machine's clock jumps, so no sleep may be trusted for long


type _Unscheduled = Literal["", "IsPastDue", "RunOnStartup"]


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

    def __init__(self, function: Function, settings: Settings, folder: Path, invoker: Invoker) -> None:
        """`folder` keeps status and lock for all processes of the application. Raises StartError for a bad schedule."""
        self._function = function
        try:
            self._schedule = CronSchedule(settings.resolve(str(function.trigger.get("schedule", "")), function.name))
        except ScheduleError as error:
            raise StartError(f"Function '{function.name}': {error}.") from None
        self._run_on_startup = bool(function.trigger.get("runOnStartup"))
        self._monitored = function.trigger.get("useMonitor") is not False and not _is_frequent(self._schedule)
        self._path = folder / f"{function.name}.json"
        self._invoker = invoker
        self._status: _Status | None = None
        self._current: asyncio.Task[None] | None = None  # the scheduled run under way

    async def run(self) -> None:
        """Keep the schedule until cancelled; while another process holds the lock, stand by.

        A run that has begun ends before this does, and before another process may take over.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
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

    async def _keep_schedule(self) -> None:
        start = _now()
        self._status = self._read() if self._monitored else None
        if self._status is None:
            self._status = _Status(None, self._schedule.after(start))
            self._write()
        elif self._status.last:  # the schedule may have been changed since the status was written
            self._status = _Status(self._status.last, self._schedule.after(self._status.last))
        if start > self._status.due:
            name = self._function.name
            category(f"Function.{name}").info("Function '%s' is past due on startup. Executing now.", name)
            await self._fire("IsPastDue")
        elif self._run_on_startup:
            await self._fire("RunOnStartup")
        while True:
            while (wait := (self._status.due - _now()).total_seconds()) > 0:  # noqa: ASYNC110 - the clock decides
                await asyncio.sleep(min(wait, _LONGEST_SLEEP))
            await self._fire()

    async def _fire(self, unscheduled: _Unscheduled = "") -> None:
        self._current = asyncio.create_task(self._run(unscheduled))
        await asyncio.shield(self._current)

    async def _run(self, unscheduled: _Unscheduled) -> None:
        assert self._status is not None  # noqa: S101 - _keep_schedule sets it first
        now, due = _now(), self._status.due
        details = f"UnscheduledInvocationReason: {unscheduled}" if unscheduled else ""
        if unscheduled == "IsPastDue":
            details += f", OriginalSchedule: {due.isoformat()}"
        timer = {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": self._status.json() if self._monitored else None,
            "IsPastDue": unscheduled == "IsPastDue",
        }
        data = Datum(json.dumps(timer, separators=(",", ":")), "json")
        await self._invoker.run_with_retries(self._function, data, {}, f"Timer fired at {now.isoformat()}", details)
        # a clock a little behind must not make the same occurrence the next one
        last = now if unscheduled else max(now, due)
        self._status = _Status(last, self._schedule.after(last))
        self._write()

    def _read(self) -> _Status | None:
        try:
            content: dict[str, Any] = json.loads(self._path.read_bytes())
            last = None if content["Last"] == _NEVER else datetime.fromisoformat(content["Last"])
            return _Status(last, datetime.fromisoformat(content["Next"]))
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def _write(self) -> None:
        if self._monitored and self._status:
            write_whole(self._path, json.dumps(self._status.json()))


def _now() -> datetime:
    return datetime.now(UTC)


def _is_frequent(schedule: CronSchedule) -> bool:
    """Whether runs lie less than a minute apart: then Azure keeps no status."""
    moment = schedule.after(_now())
    for _ in range(5):
        following = schedule.after(moment)
        if following - moment < timedelta(minutes=1):
            return True
        moment = following
    return False
