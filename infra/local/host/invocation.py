"""Invocations: the log lines around them, the time-out, trace context, retries, and what still runs at the end."""

import asyncio
import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from infra.local.host.logs import category
from infra.local.host.worker import Function, Outcome, Worker, invocation_id_cv

_CANCEL_LIMIT = 5.0  # seconds for what is cancelled to end, messages to be abandoned


class Invoker:
    """Runs functions for all triggers of one host."""

    def __init__(self, worker: Worker, limit: float, give_up: Callable[[str], None]) -> None:
        """`limit`: seconds that an invocation may take.

        `give_up` ends the process: for an invocation that can't be stopped, as Azure restarts the worker.
        """
        self._worker = worker
        self._limit = limit
        self._give_up = give_up
        self._running: dict[str, tuple[Function, asyncio.Task[Any]]] = {}

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
        log = category(f"Function.{function.name}")
        log.info("Executing 'Functions.%s' (Reason='%s', Id=%s)", function.name, reason, invocation_id)
        if details:
            log.info("Trigger Details: %s", details)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._running[invocation_id] = (function, task)
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
            category(f"Function.{function.name}").info(
                "Waiting for `%.3f` seconds before retrying function execution. Next attempt: '%d'. "
                "Max retry count: '%d'", delay, attempt + 1, most,
            )  # fmt: skip
            await asyncio.sleep(delay)
            attempt += 1

    async def drain(self, limit: float) -> None:
        """Wait at most `limit` seconds for what runs, then cancel the rest."""
        end = time.monotonic() + limit
        while (tasks := {task for _, task in self._running.values()}) and (left := end - time.monotonic()) > 0:
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
        return f"Function.{running[0].name}.User" if running else None

    def _timed_out(self, function: Function, invocation_id: str) -> Outcome:
        limit = str(timedelta(seconds=self._limit)).zfill(8)
        text = f"Timeout value of {limit} was exceeded by function: Functions.{function.name} (Id: '{invocation_id}')."
        if not function.is_async:  # its thread can't be stopped
            self._give_up(text)
        return Outcome(succeeded=False, error=text)

    def _report(self, function: Function, invocation_id: str, started: float, outcome: Outcome) -> None:
        milliseconds = round((time.perf_counter() - started) * 1000)
        executed = "Executed 'Functions.%s' (%s, Id=%s, Duration=%dms)"
        log = category(f"Function.{function.name}")
        if outcome.succeeded:
            log.info(executed, function.name, "Succeeded", invocation_id, milliseconds)
        else:
            log.error(executed, function.name, "Failed", invocation_id, milliseconds)
            log.error(
                "Exception while executing function: Functions.%s. Result: Failure\nException: %s\n%s",
                function.name, outcome.error, outcome.stack,
            )  # fmt: skip


def _trace_context(parent: str) -> str:
    """A W3C traceparent for this invocation: a new span in the caller's trace, or in a new trace."""
    fields = parent.split("-")
    trace = fields[1] if len(fields) == 4 and len(fields[1]) == 32 else os.urandom(16).hex()
    return f"00-{trace}-{os.urandom(8).hex()}-01"
