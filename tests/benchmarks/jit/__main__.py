"""`python -m tests.benchmarks.jit`: what just-in-time access costs, beside the naive ways. See docs/benchmarks.md."""
# ruff: noqa: T201 - a command line prints

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import report
from tests.benchmarks.harness.report import Goal
from tests.benchmarks.harness.stack import ROOT, stand_in
from tests.benchmarks.jit import cold, list_keys, memory, registration
from tests.benchmarks.jit.figures import FULL, QUICK, Course
from tests.benchmarks.jit.tenants import save

_ROUND_TRIPS = {"key_vault": 1, "entra": 1, "resource_manager": 1, "cosmos": 1, "cosmos_record": 1}

GOALS = (
    Goal("wall_over_injected", "strict, one at a time: wall time / injected latency of the hops made", most=1.04),
    Goal("cpu_ms", "CPU of the whole chain with access record and point read, ms", most=3.0),
    Goal("cpu_naive_over_ours", "CPU of the naive port / ours", least=35),
    Goal("cpu_naive_aio_over_ours", "CPU of the naive asynchronous port / ours", least=4.5),
    Goal("same_tenant_over_floor", "32 at once, one tenant: invocations/s / with the key in hand", least=0.7),
    Goal("distinct_over_bound", "32 at once, 32 tenants, strict: invocations/s / latency bound", least=0.95),
    Goal("tls_per_invocation", "new TLS connections per invocation, warm", exactly=0.0),
    Goal(
        "round_trips",
        "round trips, strict: Key Vault/Entra/Resource Manager/Cosmos DB/its record",
        exactly=_ROUND_TRIPS,
    ),
    Goal("list_keys_per_5_min", "worst listKeys per 5 minutes and account, all instances", most=450),
    Goal("cold_start_ratio", "process start to first answer / the naive asynchronous port's", most=0.8),
    Goal("rss_mib_10k_tenants", "resident memory after 10,000 tenants, MiB", most=150),
)
# Without it the figure above means nothing; not one of the figures itself.
_NO_FAILURE = Goal("list_keys_failed_requests", "requests that failed in that simulation", exactly=0)


def main() -> int:
    """Take all figures; 0 when they were taken, whether or not they are as they should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.jit", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the figures mean little")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench" / "jit.json", help="(%(default)s)")
    options = parser.parse_args()
    figures = _take(quick=options.quick)
    keys = {goal.key for goal in GOALS}
    report.write(options.json, {key: value for key, value in figures.items() if key in keys})
    details = {key: value for key, value in figures.items() if key not in keys}
    report.write(options.json.with_stem(f"{options.json.stem}_details"), details)
    print(report.table((*GOALS, _NO_FAILURE), figures))
    print()
    for key, value in details.items():
        print(f"{key}: {report.show(value)}")
    return 0


def _take(*, quick: bool) -> dict[str, Any]:
    plan = QUICK if quick else FULL
    figures: dict[str, Any] = {}

    def take(name: str, taking: Callable[[], dict[str, Any]]) -> None:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures.update(taking())

    with tempfile.TemporaryDirectory() as folder:
        with stand_in(Path(folder) / "few") as azure:
            tenants = Path(folder) / "tenants.json"
            save(tenants, registration.deploy(azure, plan.tenants))
            course = Course(azure, tenants, plan)
            take("CPU", course.cpu)
            take("one at a time", course.strict)
            take("many at once, one tenant", course.same_tenant)
            take("many at once, many tenants", course.distinct)
            take("cold start", lambda: cold.figures(azure, tenants, plan.cold))
        take("simulated budget", lambda: list_keys.figures(plan.minutes))
        with stand_in(Path(folder) / "many") as azure:
            print("deploying tenants ...", file=sys.stderr, flush=True)
            touched = registration.deploy(azure, plan.touched, with_candidate=False)
            take("memory", lambda: memory.figures(azure, touched))
    return figures


if __name__ == "__main__":
    sys.exit(main())
