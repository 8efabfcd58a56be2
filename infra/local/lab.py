"""A running stack for experiments: companies to found, faults to set, processes to kill, things to wait for."""

import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.client import Client
from infra.local.company import Company
from infra.local.queues import Queues
from infra.local.stack import LATENCY_MS, Latency
from infra.local.waiting import until

_WAITING = ("pending", "suspended")


@dataclass(frozen=True, slots=True)
class Lab:
    """One stack over `state`."""

    client: Client
    state: Path

    @property
    def queues(self) -> Queues:
        """The queues as the companies see them."""
        return Queues(self.client, self.state)

    async def company(self, credential: str = "secret", name: str = "", title: str | None = None) -> Company:
        """Deploy and register a company, without a `name` one of its own, with its HR system's key."""
        company = await Company.found(self.client, name or f"c-{uuid.uuid4().hex[:12]}", credential, title)
        await self.queues.system(company).register_key(self.client)
        return company

    @asynccontextmanager
    async def weather(
        self, *faults: dict[str, Any], latency: Latency = "none", **settings: float
    ) -> AsyncIterator[None]:
        """Faults, latency and settings of the stand-in, for the length of a block."""
        await self.client.control("PUT", "/faults", {"rules": list(faults)})
        await self.client.control("PUT", "/latency", LATENCY_MS[latency])
        await self.client.control("PUT", "/settings", settings)
        try:
            yield
        finally:
            await self.client.control("DELETE", "/faults")
            await self.client.control("PUT", "/latency", {})
            await self.client.control("PUT", "/settings", {})

    async def struck(self, *, within: float = 20) -> None:
        """Wait until the faults that strike a number of times have done so. Raises TimeoutError."""

        async def look() -> bool:
            return not any(rule["times"] for rule in (await self.client.control("GET", "/faults"))["rules"])

        await until(look, within)

    async def now(self) -> int:
        """The number that the journal's next entry will have."""
        return (await self.client.journal())[1]

    async def seen(self, since: int, *, count: int = 1, within: float = 20, **wanted: Any) -> list[dict[str, Any]]:
        """Wait until the journal since an entry has `count` entries like the wanted one; give all that are.

        `target` matches as a substring, the other fields as they are. Raises TimeoutError.
        """

        async def look() -> list[dict[str, Any]] | None:
            entries, _ = await self.client.journal(since)
            found = [entry for entry in entries if _is_like(entry, wanted)]
            return found if len(found) >= count else None

        return await until(look, within)

    async def report(self, company: Company, report_id: str, *, within: float = 30) -> dict[str, Any]:
        """Wait until a report is through, or waits for a reviewer. Raises TimeoutError."""

        async def look() -> dict[str, Any] | None:
            reply = await company.call("GET", f"/reports/{report_id}")
            return reply.json if reply.status == 200 and reply.json["status"] not in _WAITING else None

        return await until(look, within)

    async def all_reports(self, company: Company, count: int, *, within: float = 60) -> list[dict[str, Any]]:
        """Wait until the company has `count` reports and all are through. Raises TimeoutError."""

        async def look() -> list[dict[str, Any]] | None:
            reports = await company.reports()
            done = len(reports) >= count and all(report["status"] not in _WAITING for report in reports)
            return reports if done else None

        return await until(look, within)

    async def logged(self, *words: str, count: int = 1, within: float = 20, name: str = "functions") -> list[str]:
        """Wait until a process's log has `count` lines with all of `words`; give them. Raises TimeoutError."""

        async def look() -> list[str] | None:
            lines = (self.state / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
            found = [line for line in lines if all(word in line for word in words)]
            return found if len(found) >= count else None

        return await until(look, within)

    async def kill_app(self, name: str = "functions") -> None:
        """Kill an app process, as a crash does, and wait until another one is ready in its place."""
        ready = self.state / "run" / f"{name}.json"
        pid = _pid(ready)
        if pid is None:
            raise AssertionError(f"the process '{name}' is not running")

        async def look() -> bool:
            return _pid(ready) not in (None, pid)

        os.kill(pid, signal.SIGKILL)
        await until(look, 30)


def _pid(ready: Path) -> int | None:
    try:
        pid: int = json.loads(ready.read_text())["pid"]
    except FileNotFoundError:
        return None
    return pid


def _is_like(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(value in entry[name] if name == "target" else entry[name] == value for name, value in wanted.items())
