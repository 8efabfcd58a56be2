"""How every HTTP function is served: who asks, for which tenant, may they, and what answer they get.

An endpoint declares its route, the action it is, and its models; everything else happens here, once for all.
"""

import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import azure.functions as func
import msgspec

from shared import telemetry
from shared.access.documents import Documents
from shared.bootstrap import App, app
from shared.core import policy, token
from shared.core.caller import TokenCaller
from shared.core.context import REQUEST_ID
from shared.core.errors import BulkheadError, Kind, not_found
from shared.core.ids import RequestId, is_id, new_id
from shared.core.lease import Purpose
from shared.core.policy import Action
from shared.entrypoints import idempotency, reading
from shared.entrypoints.idempotency import Answer
from shared.entrypoints.problems import problem
from shared.tenants.models import Tenant

type Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


def answer(body: Any, status: int = 200, **headers: str) -> Answer:
    """An answer with a JSON body. Header names are given with underscores: `etag=...`, `retry_after=...`."""
    named = {name.replace("_", "-").title().replace("Etag", "ETag"): value for name, value in headers.items()}
    return Answer(status=status, body=msgspec.json.encode(body).decode(), headers=named)


NO_CONTENT = Answer(status=204, body="")
_PREFIXES = {
    "candidate_id": "cand", "authorization_id": "auth", "report_id": "rep", "screening_id": "scr", "tenant_id": "ten",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller is known and allowed."""

    app: App
    action: Action
    caller: TokenCaller
    request: func.HttpRequest
    request_id: RequestId
    now: datetime

    @property
    def params(self) -> Mapping[str, str]:
        """The query string's parameters."""
        params: Mapping[str, str] = self.request.params
        return params

    def path(self, name: str) -> str:
        """A parameter of the route. Raises BulkheadError (not_found) for what cannot be the id of such an object.

        So whatever else somebody writes there, a name or a number of a person, gets into no access record.
        """
        value = str(self.request.route_params[name])
        if name in _PREFIXES and not is_id(_PREFIXES[name], value):
            raise not_found(name.removesuffix("_id"))
        return value

    def body[B: msgspec.Struct](self, model: type[B]) -> B:
        """The body as `model`. Raises BulkheadError."""
        return reading.body(self.request, model)

    def if_match(self) -> str:
        """The If-Match header. Raises BulkheadError (precondition_required)."""
        return reading.if_match(self.request)

    async def once(
        self, documents: Documents, own_id: str, work: Callable[[str], Awaitable[Answer]], *, keys_of: str = ""
    ) -> Answer:
        """Do `work` with the id of what it makes (or of this request); with an Idempotency-Key, only once.

        `keys_of` says whose keys these are, where `documents` are not one tenant's own.
        """
        key = reading.idempotency_key(self.request)
        if key is None:
            return await work(own_id)
        route = f"{self.request.method} {self.request.url.partition('?')[0].partition('://')[2].partition('/')[2]}"
        payload = hashlib.sha256(self.request.get_body() or b"").digest()
        scope = f"{keys_of}\n{route}" if keys_of else route
        return await idempotency.once(documents, scope, key, payload, own_id, self.app.clock, work)


@dataclass(frozen=True, slots=True)
class TenantCall(Call):
    """A request of a tenant's own user or application, for that tenant."""

    tenant: Tenant

    def account(self, object_id: str, *, writes: bool) -> AbstractAsyncContextManager[Documents]:
        """The tenant's account, opened just in time for this request and `object_id`."""
        purpose = Purpose(self.caller.actor, self.action, object_id, self.request_id, writes)
        return self.app.broker.lease(self.tenant.target, purpose)


@dataclass(frozen=True, slots=True)
class Operation:
    """What the OpenAPI document tells of an endpoint."""

    method: Method
    route: str
    name: str
    summary: str
    audience: Literal["tenant", "publisher", "public"]
    action: Action | None
    body: type[msgspec.Struct] | None
    result: Any
    status: tuple[int, ...]  # of success, and of other answers that are no problem documents
    query: tuple[str, ...]
    headers: tuple[str, ...]  # of those, beside that of every answer
    once: bool  # whether it takes Idempotency-Key


OPERATIONS: list[Operation] = []


class Api:
    """Registers endpoints on a blueprint."""

    def __init__(self, blueprint: func.Blueprint) -> None:
        self._blueprint = blueprint

    def tenant(
        self,
        method: Method,
        route: str,
        action: Action,
        *,
        result: Any = None,
        body: type[msgspec.Struct] | None = None,
        status: int | tuple[int, ...] = 200,
        query: tuple[str, ...] = (),
        headers: tuple[str, ...] = (),
        once: bool = True,
    ) -> Callable[[Callable[[TenantCall], Awaitable[Answer]]], Any]:
        """An endpoint for a tenant's own callers; the tenant is that of the token's directory.

        `once` is False for a POST that takes no Idempotency-Key.
        """

        async def call(request: func.HttpRequest, request_id: RequestId) -> TenantCall:
            application = app()
            caller = await _caller(application, request)
            policy.require_tenant_role(caller, action)
            tenant = await _tenant(application, caller, request)
            return TenantCall(application, action, caller, request, request_id, application.clock.now(), tenant)

        return self._endpoint(method, route, call, "tenant", action, body, result, status, query, headers, once=once)

    def publisher(
        self,
        method: Method,
        route: str,
        action: Action,
        *,
        result: Any = None,
        body: type[msgspec.Struct] | None = None,
        status: int = 200,
        query: tuple[str, ...] = (),
        headers: tuple[str, ...] = (),
    ) -> Callable[[Callable[[Call], Awaitable[Answer]]], Any]:
        """An endpoint for the publisher's staff."""

        async def call(request: func.HttpRequest, request_id: RequestId) -> Call:
            application = app()
            caller = await _caller(application, request)
            policy.require_publisher_role(caller, action, application.settings.publisher_directory_id)
            policy.require_client(caller, application.settings.front_end_client_ids)
            return Call(application, action, caller, request, request_id, application.clock.now())

        return self._endpoint(method, route, call, "publisher", action, body, result, status, query, headers)

    def public(
        self, method: Method, route: str, *, status: int | tuple[int, ...] = 200, headers: tuple[str, ...] = ()
    ) -> Callable[[Callable[[func.HttpRequest], Awaitable[Answer]]], Any]:
        """An endpoint without a token: health and the API's description."""

        async def call(request: func.HttpRequest, request_id: RequestId) -> func.HttpRequest:  # noqa: ARG001
            return request

        return self._endpoint(method, route, call, "public", None, None, None, status, (), headers)

    def _endpoint(
        self,
        method: Method,
        route: str,
        prepare: Callable[[func.HttpRequest, RequestId], Awaitable[Any]],
        audience: Literal["tenant", "publisher", "public"],
        action: Action | None,
        body: type[msgspec.Struct] | None,
        result: Any,
        status: int | tuple[int, ...],
        query: tuple[str, ...],
        headers: tuple[str, ...],
        *,
        once: bool = True,
    ) -> Callable[[Callable[[Any], Awaitable[Answer]]], Any]:
        def register(handler: Callable[[Any], Awaitable[Answer]]) -> Any:
            name = handler.__name__
            summary = (handler.__doc__ or "").strip().partition("\n")[0]
            statuses = status if isinstance(status, tuple) else (status,)
            OPERATIONS.append(
                Operation(
                    method, route, name, summary, audience, action, body, result, statuses, query, headers,
                    once and method == "POST",
                )
            )  # fmt: skip

            async def main(req: func.HttpRequest) -> func.HttpResponse:
                async def work(request_id: RequestId) -> Answer:
                    call = await prepare(req, request_id)
                    if audience != "public":  # before any account is opened for it
                        reading.require_known_parameters(req, query)
                        if method == "POST":
                            reading.idempotency_key(req)
                    return await handler(call)

                return await served(name, work)

            main.__name__ = name
            methods = [method, "HEAD"] if method == "GET" else [method]  # RFC 9110, section 9.1
            return self._blueprint.function_name(name)(
                self._blueprint.route(route=route, methods=methods, auth_level=func.AuthLevel.ANONYMOUS)(main)
            )

        return register


async def served(name: str, work: Callable[[RequestId], Awaitable[Answer]]) -> func.HttpResponse:
    """The response of function `name`: what `work` answers, or the problem document of what it raises."""
    request_id = RequestId(new_id("req", app().clock.now()))
    REQUEST_ID.set(request_id)
    try:
        response = _response(await work(request_id), request_id)
    except BulkheadError as error:
        response = problem(error, request_id)
        telemetry.event(
            "request_refused", function=name, request_id=request_id, status=response.status_code, code=error.code
        )
    except Exception as error:  # noqa: BLE001 - the last line of defence: nothing of it may get out
        telemetry.failure("request_failed", error, function=name, request_id=request_id)
        response = problem(BulkheadError(Kind.BROKEN, "internal_error", "Something went wrong here."), request_id)
    return response


async def _caller(application: App, request: func.HttpRequest) -> TokenCaller:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise BulkheadError(Kind.UNAUTHENTICATED, "token_required", "Send an access token as Authorization: Bearer.")
    raw = bearer.strip()
    key = await application.signing_keys.get(token.key_id(raw))
    claims = token.verify(raw, key, application.settings.api_audience, application.clock.now())
    return token.caller(claims)


async def _tenant(application: App, caller: TokenCaller, request: func.HttpRequest) -> Tenant:
    """The caller's tenant, which may be served to it. What another process has just allowed is not refused here."""
    since = application.clock.monotonic()
    tenants = await application.registry.of_directory(caller.directory_id)
    with contextlib.suppress(BulkheadError):
        return _admitted(application, caller, request, tenants)
    tenants, _ = await application.registry.renewed(caller.directory_id, since)
    return _admitted(application, caller, request, tenants)


def _admitted(application: App, caller: TokenCaller, request: func.HttpRequest, tenants: tuple[Tenant, ...]) -> Tenant:
    """The caller's tenant: of its token's directory, chosen by header only among those. Raises BulkheadError."""
    chosen = request.headers.get("Bulkhead-Tenant", "").strip()
    if chosen:
        tenants = tuple(tenant for tenant in tenants if tenant.id == chosen)
        if not tenants:
            raise not_found("tenant")
    if not tenants:
        raise BulkheadError(Kind.FORBIDDEN, "not_a_tenant", "This directory has no tenant.")
    if len(tenants) > 1:
        raise BulkheadError(
            Kind.INVALID,
            "tenant_required",
            "This directory has several tenants: choose with the header Bulkhead-Tenant.",
        )
    (tenant,) = tenants
    policy.require_client(caller, application.settings.front_end_client_ids | set(tenant.allowed_client_ids))
    tenant.require_active()
    return tenant


def _response(given: Answer, request_id: RequestId) -> func.HttpResponse:
    headers = {"X-Request-Id": request_id, "Cache-Control": "no-store", **given.headers}
    return func.HttpResponse(
        given.body, status_code=given.status, mimetype="application/json" if given.body else None, headers=headers
    )
