"""A tenant of the benchmark, as the measured processes know it. Imports nothing that would be measured with them."""

from pathlib import Path
from typing import Any

import msgspec


class BenchTenant(msgspec.Struct, frozen=True, kw_only=True):
    """One registered tenant with one candidate to read, and what both ways to it need to know."""

    name: str
    entry: dict[str, Any]  # of the registry
    subscription_id: str
    resource_group: str
    account: str
    endpoint: str
    directory_id: str  # of the daemon application
    client_id: str
    vault: str
    secret: str
    candidate_id: str


def save(path: Path, tenants: list[BenchTenant]) -> None:
    """Keep `tenants` where measured processes find them."""
    path.write_bytes(msgspec.json.encode(tenants))


def load(path: str) -> list[BenchTenant]:
    """The tenants that were saved at `path`."""
    return msgspec.json.decode(Path(path).read_bytes(), type=list[BenchTenant])
