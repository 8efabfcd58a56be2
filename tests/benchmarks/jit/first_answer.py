"""A process that starts, answers once and says so: `python -m tests.benchmarks.jit.first_answer NAME TENANTS`.

Both are HTTP functions in a FunctionApp. `ours` answers a tenant's request (whose token is BENCH_TOKEN) with the
function of function_app.py; `naive_aio` reads the same candidate in the naive way, and checks no token. Neither
imports what its answer does not need.
"""
# ruff: noqa: PLC0415 - a process imports the SDKs of one competitor only

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from typing import Any

from tests.benchmarks.jit.tenants import BenchTenant, load


async def _ours(tenant: BenchTenant) -> None:
    import function_app

    await _answer(function_app.app, tenant)


async def _naive_aio(tenant: BenchTenant) -> None:
    import azure.functions as func

    from tests.benchmarks.jit.competitors import naive_aio

    app = func.FunctionApp()
    async with AsyncExitStack() as stack:
        invoke = await naive_aio(stack)

        @app.route(route="candidates/{candidate_id}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
        async def get_candidate(req: func.HttpRequest) -> func.HttpResponse:
            del req
            await invoke(tenant)
            return func.HttpResponse("{}")

        await _answer(app, tenant)


async def _answer(app: Any, tenant: BenchTenant) -> None:
    import azure.functions as func

    function = next(one for one in app.get_functions() if one.get_function_name() == "get_candidate")
    answer = await function.get_user_function()(
        func.HttpRequest(
            method="GET",
            url=f"https://bulkhead.example/api/candidates/{tenant.candidate_id}",
            headers={"Authorization": f"Bearer {os.environ['BENCH_TOKEN']}"},
            route_params={"candidate_id": tenant.candidate_id},
            body=b"",
        )
    )
    if answer.status_code != 200:
        raise SystemExit(f"{answer.status_code}: {answer.get_body().decode()}")


async def _main(name: str, tenant: BenchTenant) -> None:
    await {"ours": _ours, "naive_aio": _naive_aio}[name](tenant)
    print("answered", flush=True)  # noqa: T201 - what the parent waits for
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], load(sys.argv[2])[0]))
