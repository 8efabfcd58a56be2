"""How each figure is taken from the real chain against the stand-in. The simulated one is in list_keys.py."""

import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.harness.process import process
from tests.benchmarks.harness.stack import Azure

LATENCY = {"key_vault": 15, "entra": 60, "resource_manager": 120, "cosmos": 5}  # milliseconds
_HOPS = {**LATENCY, "cosmos_record": LATENCY["cosmos"]}  # of one invocation, in its order but for the record's
_SPREAD = sum(_HOPS.values()) / 1000  # seconds of one invocation
_REGISTRY = "bulkhead-registry"
_CONTESTANT = "tests.benchmarks.jit.contestant"
WIDTH = 32  # at once
_SPREAD_ROUNDS = 3  # more listings of one account would come near its budget, and the broker would keep tokens


@dataclass(frozen=True, slots=True)
class Plan:
    """How often what is done. More of it only makes the figures steadier."""

    tenants: int
    rounds: int
    ours: int  # invocations of ours a round, without latency
    naive: int
    naive_aio: int
    strict: int  # invocations one at a time, with latency
    burst: int  # invocations a round at one tenant, WIDTH at once
    spread: int  # invocations a round over WIDTH tenants
    cold: int  # starts
    touched: int  # tenants
    minutes: float  # simulated


FULL = Plan(
    tenants=WIDTH, rounds=7, ours=150, naive=8, naive_aio=40, strict=180, burst=3000, spread=1280, cold=9,
    touched=10_000, minutes=20,
)  # fmt: skip
QUICK = Plan(
    tenants=2, rounds=1, ours=4, naive=1, naive_aio=2, strict=2, burst=96, spread=8, cold=1, touched=6, minutes=0.5,
)  # fmt: skip


class Course:
    """One stand-in with its tenants, on which figures are taken."""

    def __init__(self, azure: Azure, tenants: Path, plan: Plan) -> None:
        self._azure = azure
        self._tenants = tenants
        self._plan = plan

    def cpu(self) -> dict[str, Any]:
        """CPU of the whole chain, ours and the naive ports' in turn."""
        plan = self._plan
        used = {"ours": plan.ours, "naive": plan.naive, "naive_aio": plan.naive_aio}
        rounds: dict[str, list[float]] = {name: [] for name in used}
        tls = 0
        with self._weather({}), ExitStack() as stack:
            contestants = {name: stack.enter_context(self._contestant(name)) for name in used}
            for contestant in contestants.values():
                contestant.ask("warm", tenants=plan.tenants)
            for _ in range(plan.rounds):
                for name, count in used.items():
                    answer = contestants[name].ask("serial", count=count)
                    rounds[name].append(answer["cpu"] / count * 1000)
                    tls += answer["tls"] if name == "ours" else 0
        return {
            "cpu_ms": statistics.median(rounds["ours"]),
            "cpu_naive_over_ours": _paired(rounds["naive"], rounds["ours"]),
            "cpu_naive_aio_over_ours": _paired(rounds["naive_aio"], rounds["ours"]),
            "tls_per_invocation": tls / (plan.rounds * plan.ours),
            "cpu_ms_naive": statistics.median(rounds["naive"]),
            "cpu_ms_naive_aio": statistics.median(rounds["naive_aio"]),
        }

    def strict(self) -> dict[str, Any]:
        """One at a time with latency: wall time over what was injected, and the round trips by service."""
        count = self._plan.strict
        with self._weather(LATENCY), self._contestant("ours") as contestant:
            contestant.ask("warm", tenants=self._plan.tenants)
            _, since = self._azure.journal()
            walls = contestant.ask("serial", count=count)["walls"]
            trips, anchors = self._trips(since)
        injected = _injected(trips) / count
        return {
            "wall_over_injected": statistics.median(walls) * 1000 / injected,
            "round_trips": {name: round(trips[name] / count, 3) for name in _HOPS} | _others(trips),
            "wall_ms": statistics.median(walls) * 1000,
            "injected_ms": injected,
            "anchors": anchors,
        }

    def _trips(self, since: int) -> tuple[Counter[str], int]:
        """Requests by service (Cosmos DB: by what for), and apart from them those for anchors to the registry."""
        trips: Counter[str] = Counter()
        anchors = 0
        for entry in self._azure.journal(since)[0]:
            if entry["service"] == "cosmos":
                if entry["target"].startswith(_REGISTRY):
                    anchors += 1
                    continue
                trips["cosmos_record" if "/access_log" in entry["target"] else "cosmos"] += 1
            else:
                trips[entry["service"]] += 1
        return trips, anchors

    def same_tenant(self) -> dict[str, Any]:
        """Many at once at one tenant, against the floor, in turn."""
        speeds: dict[str, list[float]] = {"ours": [], "floor": []}
        with self._weather(LATENCY), ExitStack() as stack:
            contestants = {name: stack.enter_context(self._contestant(name)) for name in speeds}
            for contestant in contestants.values():
                contestant.ask("warm", tenants=1)
                contestant.ask("at_once", count=self._plan.burst // 2, width=WIDTH, spread=_SPREAD)
            for _ in range(self._plan.rounds):
                for name, contestant in contestants.items():
                    answer = contestant.ask("at_once", count=self._plan.burst, width=WIDTH, spread=_SPREAD)
                    speeds[name].append(answer["per_second"])
        return {
            "same_tenant_over_floor": _paired(speeds["ours"], speeds["floor"]),
            "same_tenant_per_second": statistics.median(speeds["ours"]),
            "floor_per_second": statistics.median(speeds["floor"]),
        }

    def distinct(self) -> dict[str, Any]:
        """Many at once at as many tenants, against what the injected latency alone allows."""
        count, width = self._plan.spread, self._plan.tenants
        with self._weather(LATENCY), self._contestant("ours") as contestant:
            contestant.ask("warm", tenants=width)
            _, since = self._azure.journal()
            speeds = [
                contestant.ask("at_once", count=count, width=width, spread=_SPREAD)["per_second"]
                for _ in range(_SPREAD_ROUNDS)
            ]
            trips, _anchors = self._trips(since)
        bound = width / (_injected(trips) / 1000 / (count * _SPREAD_ROUNDS))
        return {
            "distinct_over_bound": statistics.median(speeds) / bound,
            "distinct_per_second": statistics.median(speeds),
            "distinct_bound_per_second": bound,
        }

    @contextmanager
    def _weather(self, latency: dict[str, int]) -> Iterator[None]:
        self._azure.control("PUT", "/latency", latency)
        try:
            yield
        finally:
            self._azure.control("PUT", "/latency", {})

    def _contestant(self, name: str) -> Any:
        return process(_CONTESTANT, name, str(self._tenants), env=self._azure.env)


def _injected(trips: Counter[str]) -> float:
    """Milliseconds of latency that these requests met with."""
    return sum(_HOPS[name] * made for name, made in trips.items() if name in _HOPS)


def _others(trips: Counter[str]) -> dict[str, int]:
    """Requests that an invocation should not make at all."""
    return {name: made for name, made in trips.items() if name not in _HOPS}


def _paired(above: list[float], below: list[float]) -> float:
    """Median of the rounds' ratios: what disturbs a round disturbs both of its sides."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))
