"""Resource Manager asked without an SDK, for the wire suites: tokens, rights, plain requests."""

import uuid
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import HttpResponseError

from infra.local.standin.authorization import RoleAssignment

ARM = "https://management.azure.com"
SCOPE = f"{ARM}/.default"
ACCOUNTS = "2024-11-15"
AUTHORIZATION = "2022-04-01"


def token_of(cloud: Any, tenant: Any, resource: str = ARM, directory_id: str | None = None) -> str:
    """A token of the tenant's daemon, without the way through Entra, for tests of what only the stand-in offers."""
    token, _ = cloud.azure.tokens.app_token(
        directory_id or cloud.publisher_directory_id,
        resource,
        client_id=tenant.client_id,
        object_id=tenant.object_id,
        acr="1",
    )
    return str(token)


async def send(
    http: aiohttp.ClientSession, token: str, method: str, path: str, version: str = ACCOUNTS, body: Any = None
) -> tuple[int, dict[str, Any], Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with http.request(method, ARM + path, params={"api-version": version}, headers=headers, json=body) as answer:
        text = await answer.read()
        return answer.status, (await answer.json() if text else {}), answer.headers


def error_of(caught: pytest.ExceptionInfo[HttpResponseError]) -> tuple[int | None, str | None]:
    assert caught.value.error is not None
    return caught.value.status_code, caught.value.error.code


def grant(cloud: Any, principal_id: str, role_id: str, scope: str) -> None:
    assignment = RoleAssignment(str(uuid.uuid4()), scope, role_id, principal_id)
    cloud.call(lambda: cloud.azure.authorization.assign(assignment))
