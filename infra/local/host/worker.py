"""The Python worker: indexes `function_app.py` and runs its functions, by Microsoft's azure-functions-runtime.

The runtime expects the host's protocol messages; here they are plain objects with the same attributes, so that its
own code decides what a function is, converts what goes in and out, and fails as it fails on Azure. Invocations go
through the runtime's entry without protocol messages (`native_invocation`), asynchronous ones on the running loop.
The runtime keeps its registry in module globals: one application per process.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime
from azure_functions_runtime import handle_event, native_invocation
from azure_functions_runtime.bindings.datumdef import Datum
from azure_functions_runtime.http_v2 import HttpV2Registry
from azure_functions_runtime.utils.executor import invocation_id_cv

from infra.local.host.errors import StartError

__all__ = ["Datum", "Function", "Outcome", "RetryPolicy", "Worker", "invocation_id_cv"]

_TRIGGERS = ("httpTrigger", "serviceBusTrigger", "timerTrigger")


@dataclass(slots=True, frozen=True)
class RetryPolicy:
    """A function's retry policy. `maximum_retries` is -1 for no end; times in seconds."""

    maximum_retries: int
    minimum: float
    maximum: float

    def delay(self, attempt: int) -> float:
        """Seconds to wait before retry number `attempt`, counted from 0."""
        return min(self.maximum, self.minimum * 2.0 ** min(attempt, 60))


@dataclass(slots=True, frozen=True)
class Function:
    """One indexed function."""

    name: str
    function_id: str
    trigger: dict[str, Any]  # the trigger's binding, as function.json has it
    is_async: bool
    retry: RetryPolicy | None

    @property
    def trigger_type(self) -> str:
        """Such as `httpTrigger`."""
        return str(self.trigger["type"])


@dataclass(slots=True, frozen=True)
class Outcome:
    """What an invocation gave: the returned datum, or the exception's text and stack."""

    succeeded: bool
    value: Any = None
    error: str = ""
    stack: str = ""


class Worker:
    """The application of this process."""

    async def load(self, directory: Path) -> list[Function]:
        """Index the application in `directory`. Raises StartError with the function's name and the reason."""
        sys.path.insert(0, str(directory))
        os.chdir(directory)
        runtime.start_threadpool_executor()
        init = SimpleNamespace(capabilities={}, function_app_directory=str(directory))
        request = SimpleNamespace(
            request=SimpleNamespace(worker_init_request=init), properties={"host": "127.0.0.1", "protos": _PROTOCOL}
        )
        answer = await runtime.worker_init_request(request)
        if answer.result.status != _PROTOCOL.StatusResult.Success:
            failure = answer.result.exception
            raise StartError(f"Worker was unable to load functions: {failure.message}\n{failure.stack_trace}")
        if HttpV2Registry.http_v2_enabled():
            raise StartError("HTTP streaming (azurefunctions-extensions-http-fastapi) is not supported locally.")
        answer = await runtime.functions_metadata_request(request)
        found = answer.function_metadata_results
        if not found:
            raise StartError(f"No functions were found: {directory} holds no function_app.py with a function.")
        return sorted((_function(metadata) for metadata in found), key=lambda function: function.name.lower())

    async def invoke(
        self,
        function: Function,
        invocation_id: str,
        data: Any,
        metadata: dict[str, Any],
        trace_parent: str,
        retries: tuple[int, int] = (0, 0),
    ) -> Outcome:
        """Run a function once. `retries`: number of this retry, and the most there can be."""
        ok, value, _outputs, error, stack = await native_invocation.invocation_request_native(
            invocation_id,
            function.function_id,
            [(function.trigger["name"], data)],
            metadata,
            trace_parent,
            retry_count=retries[0],
            max_retry_count=retries[1],
        )
        return Outcome(ok, value, error, stack)

    def stop(self) -> None:
        """Let the threads of synchronous functions go."""
        executor = runtime.get_threadpool_executor()
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


class _Message(SimpleNamespace):
    """Any message of FunctionRpc.proto, with the numbers of the enumerations that are looked at."""

    undefined, out, inout = 0, 1, 2  # BindingInfo.Direction, as azure.functions' BindingDirection has it
    Failure, Success = 0, 1  # StatusResult.Status


_MESSAGES = (
    "BindingInfo", "FunctionMetadataResponse", "RpcException", "RpcFunctionMetadata", "RpcRetryOptions",
    "StatusResult", "WorkerInitResponse", "WorkerMetadata",
)  # fmt: skip
_PROTOCOL = SimpleNamespace(**dict.fromkeys(_MESSAGES, _Message))


def _function(metadata: Any) -> Function:
    bindings = [json.loads(text) for text in metadata.raw_bindings]
    registered = handle_event._functions.get_function(metadata.function_id)  # noqa: SLF001 - no public way to it
    if registered.deferred_bindings_enabled or registered.settlement_client_arg:
        raise StartError(f"Function '{metadata.name}': SDK types and settlement clients are not supported locally.")
    trigger = next(b for b in bindings if str(b["type"]).lower().endswith("trigger"))
    if trigger["type"] not in _TRIGGERS:
        raise StartError(f"Function '{metadata.name}': the trigger type '{trigger['type']}' is not supported locally.")
    if others := [b["type"] for b in bindings if b is not trigger and b["type"] != "http"]:
        raise StartError(f"Function '{metadata.name}': the binding type '{others[0]}' is not supported locally.")
    return Function(
        name=metadata.name,
        function_id=metadata.function_id,
        trigger=trigger,
        is_async=registered.is_async,
        retry=_retry(metadata.retry_options),
    )


def _retry(options: Any) -> RetryPolicy | None:
    if options is None:
        return None
    if options.retry_strategy == "fixed_delay":
        low = high = options.delay_interval
    else:
        low, high = options.minimum_interval, options.maximum_interval
    return RetryPolicy(options.max_retry_count, low.total_seconds(), high.total_seconds())
