"""Invocations: the log lines around them, the time-out, trace context, retries, and what still runs at the end."""

import asyncio
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.local.host.host_file import HostOptions
from infra.local.host.logs import HostLog
from infra.local.host.worker import Function, Outcome, Worker, invocation_id_cv

API_REASON = "This function was programmatically called via the host APIs."
_CANCEL_LIMIT = 5.0  # seconds for what is cancelled to end, messages to be abandoned


@dataclass(slots=True, frozen=True)
class _Running:
    function: Function
    task: "asyncio.Task[Any]"


class Invoker:
    """Runs functions for all triggers of one host."""

    def __init__(self, worker: Worker, options: HostOptions, log: HostLog, give_up: Callable[[str], None]) -> None:
        """`give_up` ends the process: for an invocation that can't be stopped, as Azure restarts the worker."""
        self._worker = worker
        self._limit = options.function_timeout
        self._log = log
        self._give_up = give_up
        self._running: dict[str, _Running] = {}

    async def run(
        self,
        function: Function,
        data: Any,
        metadata: dict[str, Any],
        reason: str,
        *,
        trace_parent: str = "",
        details: str = "",
        retries: tuple[int, int] = (0, 0),
    ) -> Outcome:
        """Run a function once, in the current task. An exception of the function is an outcome, not an exception.

        `reason` and `details` go to the log. Cancelling the task cancels the function; that is logged and raised.
        """
        invocation_id = str(uuid.uuid4())
        category = f"Function.{function.name}"
        self._log.write(
            category, "Information", f"Executing 'Functions.{function.name}' (Reason='{reason}', Id={invocation_id})"
        )
        if details:
            self._log.write(category, "Information", f"Trigger Details: {details}")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._running[invocation_id] = _Running(function, task)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._limit):
                outcome = await self._worker.invoke(
                    function, invocation_id, data, metadata, _trace_context(trace_parent), retries
                )
        except TimeoutError:
            outcome = self._timed_out(function, invocation_id)
        except asyncio.CancelledError:
            self._report(function, invocation_id, started, Outcome(succeeded=False, error="The host is stopping."))
            raise
        finally:
            del self._running[invocation_id]
        self._report(function, invocation_id, started, outcome)
        return outcome

    async def run_with_retries(
        self, function: Function, data: Any, metadata: dict[str, Any], reason: str, details: str = ""
    ) -> Outcome:
        """Run a function, again and again after a failure as its retry policy says.

        Source: "Azure Functions error handling and retries": policies hold for timers, not for HTTP or Service Bus.
        """
        policy = function.retry
        most = policy.maximum_retries if policy else 0
        attempt = 0
        while True:
            outcome = await self.run(function, data, metadata, reason, details=details, retries=(attempt, most))
            if outcome.succeeded or policy is None or (0 <= most <= attempt):
                return outcome
            delay = policy.delay(attempt)
            self._log.write(
                f"Function.{function.name}",
                "Information",
                f"Waiting for `{delay:.3f}` seconds before retrying function execution. Next attempt: '{attempt + 1}'. "
                f"Max retry count: '{most}'",
            )
            await asyncio.sleep(delay)
            attempt += 1

    async def drain(self, limit: float) -> None:
        """Wait at most `limit` seconds for what runs, then cancel the rest."""
        end = time.monotonic() + limit
        while (tasks := {running.task for running in self._running.values()}) and (left := end - time.monotonic()) > 0:
            await asyncio.wait(tasks, timeout=left)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_LIMIT)

    @property
    def running(self) -> int:
        """How many invocations are under way."""
        return len(self._running)

    def user_category(self) -> str | None:
        """The log category of the function whose code is running here, None outside of one."""
        running = self._running.get(invocation_id_cv.get() or "")
        return f"Function.{running.function.name}.User" if running else None

    def _timed_out(self, function: Function, invocation_id: str) -> Outcome:
        text = (
            f"Timeout value of {_time_span(self._limit or 0)} was exceeded by function: Functions.{function.name} "
            f"(Id: '{invocation_id}')."
        )
        if not function.is_async:  # its thread can't be stopped
            self._give_up(text)
        return Outcome(succeeded=False, error=text)

    def _report(self, function: Function, invocation_id: str, started: float, outcome: Outcome) -> None:
        milliseconds = round((time.perf_counter() - started) * 1000)
        state = "Succeeded" if outcome.succeeded else "Failed"
        text = f"Executed 'Functions.{function.name}' ({state}, Id={invocation_id}, Duration={milliseconds}ms)"
        category = f"Function.{function.name}"
        if outcome.succeeded:
            self._log.write(category, "Information", text)
            return
        self._log.write(category, "Error", text)
        self._log.write(
            category,
            "Error",
            f"Exception while executing function: Functions.{function.name}. Result: Failure\n"
            f"Exception: {outcome.error}\n{outcome.stack}".rstrip(),
        )


def _trace_context(parent: str) -> str:
    """A W3C traceparent for this invocation: a new span in the caller's trace, or in a new trace."""
    fields = parent.split("-")
    trace = fields[1] if len(fields) == 4 and len(fields[1]) == 32 else os.urandom(16).hex()
    return f"00-{trace}-{os.urandom(8).hex()}-01"


def _time_span(seconds: float) -> str:
    return f"{int(seconds) // 3600:02}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"
