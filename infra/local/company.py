"""A client company as its own staff uses Bulkhead: for the demonstration and the functional tests."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from infra.local.client import Client, ControlError, Reply

_LONGEST_PAGE = 100


@dataclass(frozen=True, slots=True)
class Company:
    """One registered tenant. `deployed` is what Azure knows of it, `registered` what Bulkhead does."""

    client: Client
    name: str
    deployed: dict[str, Any]
    registered: dict[str, Any]
    _tokens: dict[tuple[str, ...], str] = field(default_factory=dict, repr=False)

    @classmethod
    async def found(cls, client: Client, name: str, credential: str = "secret", title: str | None = None) -> Self:
        """Deploy and register a new tenant. Raises ControlError."""
        deployed = await client.control("POST", "/tenants", {"name": name})
        return cls(client, name, deployed, await client.register(name, credential, title))

    @property
    def id(self) -> str:
        """Bulkhead's id of the tenant."""
        return str(self.registered["id"])

    @property
    def account(self) -> str:
        """Name of its Cosmos DB account."""
        return str(self.deployed["cosmos_account"])

    async def call(
        self, method: str, path: str, body: Any = None, *, roles: tuple[str, ...] = ("Tenant.Admin",), **more: Any
    ) -> Reply:
        """Call Bulkhead's API as one of its users with these roles; `more` as `Client.api` takes it."""
        if roles not in self._tokens:
            self._tokens[roles] = await self.client.token(self.name, roles)
        return await self.client.api(method, path, self._tokens[roles], body, **more)

    async def must(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Like `call`, for the answer's body. Raises ControlError unless it is a success."""
        reply = await self.call(method, path, body, **more)
        if reply.status >= 400:
            raise ControlError(f"{method} {path} was answered with {reply.status}: {reply.text}")
        return reply.json

    async def add_candidate(self, data: Mapping[str, Any]) -> str:
        """A candidate who has signed: gives the id."""
        candidate_id = str((await self.must("POST", "/candidates", dict(data)))["id"])
        await self.must("POST", f"/candidates/{candidate_id}/authorizations", authorization())
        return candidate_id

    async def order(self, candidate_id: str, package: str = "essential", key: str | None = None) -> dict[str, Any]:
        """Order a check over HTTP; gives the report."""
        headers = {"Idempotency-Key": key} if key else None
        body = {"candidate_id": candidate_id, "package": package}
        report: dict[str, Any] = await self.must("POST", "/reports", body, headers=headers)
        return report

    async def reports(self) -> list[dict[str, Any]]:
        """Every report, newest first."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.must("GET", f"/reports?limit={_LONGEST_PAGE}{cursor}")
            found += page["data"]
            if not page["has_more"]:
                return found
            cursor = f"&cursor={page['next']}"

    async def regenerate(self, *kinds: str) -> None:
        """Its administrator regenerates keys of the account."""
        for kind in kinds:
            await self.client.control("POST", f"/cosmos/{self.account}/regenerate", {"key_kind": kind})


def authorization() -> dict[str, Any]:
    """Evidence that a candidate was told and has agreed, as `POST /candidates/{id}/authorizations` takes it."""
    return {
        "permissible_purpose": "employment",
        "employer_certification": True,
        "disclosure": {"version": "2026-01", "sha256": hashlib.sha256(b"the disclosure's text").hexdigest()},
        "authorization": {"version": "2026-01", "sha256": hashlib.sha256(b"the authorization's text").hexdigest()},
        "signed_at": (datetime.now(UTC) - timedelta(minutes=5)).isoformat(timespec="seconds"),
    }
