"""The benchmarks run and report what they promise. What they measure is no test: that is `make bench`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.harness.stack import ROOT

KEYS = {
    "wall_over_injected",
    "cpu_ms",
    "cpu_naive_over_ours",
    "cpu_naive_aio_over_ours",
    "same_tenant_over_floor",
    "distinct_over_bound",
    "tls_per_invocation",
    "round_trips",
    "list_keys_per_5_min",
    "cold_start_ratio",
    "rss_mib_10k_tenants",
}


STAND_IN_KEYS = {
    *(f"{what}_per_s" for what in ("get_secret", "list_keys", "issue_token", "read_item", "create_item", "query")),
    *(f"{what}_cpu_us" for what in ("get_secret", "list_keys", "issue_token", "read_item", "create_item", "query")),
    "messages_per_s",
    "triggers_per_s",
    "session_triggers_per_s",
    "start_s",
}


async def quick(benchmark: str, written: Path) -> tuple[dict[str, Any], str]:
    """Its figures and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.benchmarks.{benchmark}", "--quick", "--json", str(written),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return json.loads(await asyncio.to_thread(written.read_text)), output.decode()


async def test_quick_mode_runs_and_writes_every_figure(tmp_path: Path) -> None:
    figures, output = await quick("jit", tmp_path / "jit.json")
    assert figures.keys() == KEYS
    # What does not depend on the machine's speed holds in quick mode, too.
    assert figures["tls_per_invocation"] == 0
    assert set(figures["round_trips"].values()) == {1}
    assert all(key in output for key in KEYS)


async def test_the_stand_in_s_own_figures(tmp_path: Path) -> None:
    figures, output = await quick("stand_in", tmp_path / "stand_in.json")
    assert figures.keys() == STAND_IN_KEYS
    assert all(figures[key] > 0 for key in STAND_IN_KEYS if not key.endswith("_cpu_us"))
    assert all(key in output for key in STAND_IN_KEYS)
