"""Clients of a running stack: its control API, and Bulkhead's own API as a front end would call it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from infra.local.endpoints import Endpoints
from infra.local.screen import program


class ControlError(Exception):
    """Somebody refused: the stand-in's control API, with its `status`, or Bulkhead. The text says why."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


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


def told(reply: Reply) -> str:
    """What a refusal says, in a line."""
    try:
        problem = reply.json
        faults = "".join(f" {fault['pointer']}: {fault['detail']}" for fault in problem.get("errors", ()))
        return f"{reply.status}, {problem['detail']}{faults}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{reply.status} {reply.text}"


class Client:
    """Talks to one stack; remembers every answer of Bulkhead's API in `answers`, for leak scans."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.answers: list[str] = []
        self._session = aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=120))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the stand-in's control API. Raises ControlError."""
        async with self._session.request(method, self.endpoints.stand_in + path, json=body) as answer:
            text = await answer.text()
            parsed = json.loads(text) if text else None
            if answer.status >= 400:
                text = parsed["error"] if isinstance(parsed, dict) and "error" in parsed else text
                raise ControlError(text, answer.status)
            return parsed

    async def token(self, tenant: str | None = None, roles: tuple[str, ...] = (), **more: Any) -> str:
        """A user's access token: of the tenant's directory, or the publisher's without one."""
        who: dict[str, Any] = {"publisher": True} if tenant is None else {"tenant": tenant}
        answer = await self.control("POST", "/tokens", {**who, "roles": list(roles), **more})
        return str(answer["access_token"])

    async def api(
        self, method: str, path: str, token: str = "", body: Any = None, headers: Mapping[str, str] | None = None
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

    async def deployments(self) -> list[dict[str, Any]]:
        """What Azure knows of each deployed tenant."""
        found: list[dict[str, Any]] = (await self.control("GET", "/tenants"))["tenants"]
        return found

    async def deployment(self, name: str) -> dict[str, Any]:
        """What Azure knows of a deployed tenant. Raises ControlError when there is none of that name."""
        deployed = {tenant["name"]: tenant for tenant in await self.deployments()}
        if name not in deployed:
            there = f"There are: {', '.join(sorted(deployed))}. " if deployed else ""
            raise ControlError(f"There is no tenant '{name}'. {there}Deploy it with: {program()} tenant deploy {name}")
        return deployed[name]

    async def names(self) -> dict[str, str]:
        """Whose each account and each daemon is: the tenant's name by the account's name, by the client id."""
        accounts = {one["cosmos_account"]: one["name"] for one in await self.deployments()}
        daemons = {one["client_id"]: one["name"] for one in (await self.control("GET", "/daemons"))["daemons"]}
        return accounts | daemons

    async def register(self, name: str, credential: str, display_name: str | None = None) -> dict[str, Any]:
        """What an administrator of the publisher does by hand for a deployed tenant: daemon, then registration.

        Raises ControlError when either is refused.
        """
        deployed = await self.deployment(name)
        token = await self.token(roles=("Publisher.Operate",))
        known = await self.api("GET", f"/tenants?application_id={deployed['application_id']}", token)
        if known.status == 200 and known.json["data"]:
            raise ControlError(f"The tenant '{name}' is registered already, as {known.json['data'][0]['id']}.")
        try:
            daemon = await self.control("POST", "/daemons", {"name": name, "credential": credential})
        except ControlError as error:
            if error.status != 409:
                raise
            # an attempt before this one got no further
            daemon = await self.control("POST", f"/daemons/{name}/rotate", {"credential": credential})
        body = {
            "name": display_name or name, "application_id": deployed["application_id"],
            "daemon_client_id": daemon["client_id"],
        }  # fmt: skip
        body |= {field: daemon[field] for field in ("credential", "credential_name", "vault")}
        reply = await self.api("POST", "/tenants", token, body)
        if reply.status != 201:
            raise ControlError(f"Bulkhead did not register the tenant: {told(reply)}")
        registered: dict[str, Any] = reply.json
        return registered
