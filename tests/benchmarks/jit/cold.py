"""Figure `cold_start_ratio`: from the start of a process to its first answer."""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.harness.process import environment
from tests.benchmarks.harness.stack import ROOT, Azure
from tests.benchmarks.jit.tenants import load

_FIRST_ANSWER = "tests.benchmarks.jit.first_answer"


def figures(azure: Azure, tenants: Path, starts: int) -> dict[str, Any]:
    """Ours against the naive aio port, in turn, with warm byte code."""
    tenant = load(str(tenants))[0]
    wanted = {"tenant": tenant.name, "roles": ["Candidates.ReadWrite"]}
    token = azure.control("POST", "/tokens", wanted)["access_token"]
    env = environment(azure.env | {"BENCH_TOKEN": token})
    seconds: dict[str, list[float]] = {"ours": [], "naive_aio": []}
    for name in seconds:
        _start(name, tenants, env)  # writes the byte code
    for _ in range(starts):
        for name, taken in seconds.items():
            taken.append(_start(name, tenants, env))
    ratios = [ours / naive for ours, naive in zip(seconds["ours"], seconds["naive_aio"], strict=True)]
    return {
        "cold_start_ratio": statistics.median(ratios),
        "cold_start_ms": statistics.median(seconds["ours"]) * 1000,
        "cold_start_ms_naive_aio": statistics.median(seconds["naive_aio"]) * 1000,
    }


def _start(name: str, tenants: Path, env: dict[str, str]) -> float:
    """Seconds until a new process has answered. Raises RuntimeError when it does not."""
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", _FIRST_ANSWER, name, str(tenants)], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        answered = process.stdout.readline() == "answered\n"
        seconds = time.perf_counter() - began
    if not answered:
        raise RuntimeError(f"the first answer of '{name}' did not come")
    return seconds
