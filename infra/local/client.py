"""Clients of a running stack: its control API, and Bulkhead's own API as a front end would call it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from infra.local.endpoints import Endpoints


class ControlError(Exception):
    """The stand-in's control API refused; the text says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of Bulkhead's API."""

    status: int
    headers: Mapping[str, str]  # names in any case
    text: str

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.text) if self.text else None


class Client:
    """Talks to one stack; remembers every answer of Bulkhead's API in `answers`, for leak scans."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.answers: list[str] = []
        self._session = aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=120))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the stand-in's control API. Raises ControlError."""
        async with self._session.request(method, self.endpoints.stand_in + path, json=body) as answer:
            text = await answer.text()
            parsed = json.loads(text) if text else None
            if answer.status >= 400:
                raise ControlError(parsed["error"] if isinstance(parsed, dict) and "error" in parsed else text)
            return parsed

    async def token(self, tenant: str | None = None, roles: tuple[str, ...] = (), **more: Any) -> str:
        """A user's access token: of the tenant's directory, or the publisher's without one."""
        who: dict[str, Any] = {"publisher": True} if tenant is None else {"tenant": tenant}
        answer = await self.control("POST", "/tokens", {**who, "roles": list(roles), **more})
        return str(answer["access_token"])

    async def api(
        self,
        method: str,
        path: str,
        token: str = "",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Call Bulkhead's API; `path` begins behind `/api`. A `body` of bytes is sent as it is, others as JSON."""
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        content: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        url = f"{self.endpoints.functions}/api{path}"
        async with self._session.request(method, url, headers=sent, **content) as answer:
            reply = Reply(answer.status, answer.headers.copy(), await answer.text())
        self.answers.append("\n".join([reply.text, *(f"{name}: {value}" for name, value in reply.headers.items())]))
        return reply

    async def journal(self, since: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The stand-in's journal from entry `since`, and the number that its next entry will have."""
        answer = await self.control("GET", f"/journal?since={since}")
        return answer["entries"], answer["next"]

    async def deployment(self, name: str) -> dict[str, Any]:
        """What Azure knows of a deployed tenant. Raises ControlError when there is none of that name."""
        for tenant in (await self.control("GET", "/tenants"))["tenants"]:
            if tenant["name"] == name:
                found: dict[str, Any] = tenant
                return found
        raise ControlError(f"There is no tenant '{name}'. Deploy it with: python -m infra.local tenant deploy {name}")

    async def register(self, name: str, credential: str, display_name: str | None = None) -> dict[str, Any]:
        """What an administrator of the publisher does by hand for a deployed tenant: daemon, then registration.

        Raises ControlError when either is refused.
        """
        deployed = await self.deployment(name)
        daemon = await self.control("POST", "/daemons", {"name": name, "credential": credential})
        reply = await self.api(
            "POST",
            "/tenants",
            await self.token(roles=("Publisher.Operate",)),
            {
                "name": display_name or name,
                "application_id": deployed["application_id"],
                "daemon_client_id": daemon["client_id"],
                "credential": daemon["credential"],
                "credential_name": daemon["credential_name"],
                "vault": daemon["vault"],
            },
        )
        if reply.status != 201:
            raise ControlError(f"Bulkhead refused to register the tenant: {reply.text}")
        registered: dict[str, Any] = reply.json
        return registered
