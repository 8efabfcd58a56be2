"""The control API (loopback only): what tests, the demonstration and the command line do to the stand-in.

It plays those who are no part of Bulkhead: customers, administrators, users signing in, and the weather.
"""

import uuid
from dataclasses import asdict
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from infra.local.standin import publisher
from infra.local.standin.arm import ArmError
from infra.local.standin.azure import Azure
from infra.local.standin.cosmos.accounts import KeyKind
from infra.local.standin.customers import CertificateFormat, CredentialKind, Customers, NotThereError, TakenError
from infra.local.standin.locks import Level
from infra.local.standin.server import IDENTITY_PATH, Dispatcher
from infra.local.standin.settings import Settings
from infra.local.standin.wire import SERVICES, FaultRule, Milliseconds, ServiceName


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """A request body; a misspelt field is an error."""


class _NewTenant(_Body):
    name: str
    directory_id: str | None = None


class _Lock(_Body):
    level: Level | None


class _Credential(_Body):
    credential: CredentialKind
    format: CertificateFormat = "pem"


class _NewDaemon(_Credential, kw_only=True):
    name: str


class _TokenRequest(_Body):
    tenant: str | None = None
    publisher: bool | str | None = None
    roles: list[str] = []
    overrides: dict[str, Any] = {}
    key: Literal["forged"] | None = None


class _Regeneration(_Body):
    key_kind: KeyKind


class _Faults(_Body):
    rules: list[FaultRule]


class _JournalQuery(_Body):
    since: Annotated[int, msgspec.Meta(ge=0)] = 0


class Control:
    """Routes of the control API over one Azure."""

    def __init__(self, azure: Azure, customers: Customers, dispatcher: Dispatcher) -> None:
        self._azure = azure
        self._world = azure.world
        self._customers = customers
        self._dispatcher = dispatcher

    def application(self) -> web.Application:
        """The control API and, beside it, the managed-identity endpoint, which is plain loopback HTTP as on Azure."""
        app = web.Application(middlewares=[_errors])
        app.router.add_routes(
            [
                web.get("/tenants", self._list_tenants),
                web.post("/tenants", self._deploy_tenant),
                web.delete("/tenants/{name}", self._delete_tenant),
                web.put("/tenants/{name}/lock", self._lock_tenant),
                web.get("/daemons", self._list_daemons),
                web.post("/daemons", self._create_daemon),
                web.post("/daemons/{name}/rotate", self._rotate_daemon),
                web.post("/tokens", self._issue_token),
                web.get("/journal", self._read_journal),
                web.get("/latency", self._read_latency),
                web.put("/latency", self._set_latency),
                web.get("/faults", self._read_faults),
                web.put("/faults", self._set_faults),
                web.delete("/faults", self._clear_faults),
                web.put("/settings", self._set_settings),
                web.post("/cosmos/{account}/regenerate", self._regenerate),
                web.get("/secrets", self._read_secrets),
                web.get("/messages", self._read_messages),
                web.route("*", IDENTITY_PATH, self._identity),
            ]
        )
        return app

    async def _identity(self, request: web.Request) -> web.StreamResponse:
        return await self._dispatcher.carry_out(self._azure.managed_identity, "", request)

    async def _list_tenants(self, _request: web.Request) -> web.Response:
        return web.json_response({"tenants": [asdict(tenant) for tenant in self._customers.tenants()]})

    async def _deploy_tenant(self, request: web.Request) -> web.Response:
        wanted = await _read(request, _NewTenant)
        return web.json_response(asdict(self._customers.deploy(wanted.name, wanted.directory_id)), status=201)

    async def _delete_tenant(self, request: web.Request) -> web.Response:
        self._customers.delete(request.match_info["name"])
        return web.Response(status=204)

    async def _lock_tenant(self, request: web.Request) -> web.Response:
        """The customer locks its subscription; null takes the lock away."""
        self._customers.lock(request.match_info["name"], (await _read(request, _Lock)).level)
        return web.Response(status=204)

    async def _list_daemons(self, _request: web.Request) -> web.Response:
        return web.json_response({"daemons": [asdict(daemon) for daemon in self._customers.daemons()]})

    async def _create_daemon(self, request: web.Request) -> web.Response:
        wanted = await _read(request, _NewDaemon)
        daemon = self._customers.create_daemon(wanted.name, wanted.credential, wanted.format)
        return web.json_response(asdict(daemon), status=201)

    async def _rotate_daemon(self, request: web.Request) -> web.Response:
        wanted = await _read(request, _Credential)
        daemon = self._customers.rotate_daemon(request.match_info["name"], wanted.credential, wanted.format)
        return web.json_response(asdict(daemon))

    async def _issue_token(self, request: web.Request) -> web.Response:
        """A user's token, as the front end would get it at sign-in."""
        wanted = await _read(request, _TokenRequest)
        if (wanted.tenant is None) == (not wanted.publisher):
            raise ValueError('Give either "tenant": NAME or "publisher": true.')
        directory_id = self._customers.tenant(wanted.tenant).directory_id if wanted.tenant else publisher.DIRECTORY_ID
        token = self._azure.tokens.user_token(
            directory_id,
            publisher.API_CLIENT_ID,
            client_id=publisher.FRONT_END_CLIENT_ID,
            object_id=str(uuid.uuid5(uuid.UUID(directory_id), "user")),
            roles=wanted.roles,
            overrides=wanted.overrides,
            forged=wanted.key == "forged",
        )
        return web.json_response({"access_token": token}, status=201)

    async def _read_journal(self, request: web.Request) -> web.Response:
        wanted = msgspec.convert(dict(request.query), _JournalQuery, strict=False)
        entries, following = self._world.journal.since(wanted.since)
        return web.json_response({"entries": [asdict(entry) for entry in entries], "next": following})

    async def _read_latency(self, _request: web.Request) -> web.Response:
        return web.json_response({name: self._world.weather.latency_ms.get(name, 0.0) for name in SERVICES})

    async def _set_latency(self, request: web.Request) -> web.Response:
        """Replaces all latencies; a service that is not named has none."""
        self._world.weather.set_latency(await _read(request, dict[ServiceName, Milliseconds]))
        return await self._read_latency(request)

    async def _read_faults(self, _request: web.Request) -> web.Response:
        return web.json_response({"rules": msgspec.to_builtins(self._world.weather.rules)})

    async def _set_faults(self, request: web.Request) -> web.Response:
        """Replaces all rules."""
        self._world.weather.set_rules((await _read(request, _Faults)).rules)
        return await self._read_faults(request)

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._world.weather.set_rules([])
        return web.Response(status=204)

    async def _set_settings(self, request: web.Request) -> web.Response:
        """Replaces all settings; one that is not given gets its default."""
        self._world.change(await _read(request, Settings))
        self._azure.service_bus.set_lock_duration(self._world.settings.lock_seconds)
        return web.json_response(msgspec.to_builtins(self._world.settings))

    async def _regenerate(self, request: web.Request) -> web.Response:
        """The customer regenerates a key in the portal; here it changes at once."""
        account, kind = request.match_info["account"], (await _read(request, _Regeneration)).key_kind
        if self._azure.accounts.get(account) is None:
            raise NotThereError(f"There is no Cosmos DB account '{account}'.")
        self._azure.accounts.regenerate(account, kind)
        return web.json_response({"account": account, "key_kind": kind})

    async def _read_secrets(self, _request: web.Request) -> web.Response:
        return web.json_response({"secrets": self._world.secrets.all()})

    async def _read_messages(self, _request: web.Request) -> web.Response:
        """Every message sent to a queue, for leak scans: bodies and properties in their AMQP encoding."""
        messages = [{"queue": queue, "text": text} for queue, text in self._azure.service_bus.messages()]
        return web.json_response({"messages": messages})


async def _read[T](request: web.Request, kind: type[T]) -> T:
    return msgspec.json.decode(await request.read(), type=kind)


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Errors as `{"error": text}` with a text that says what to do."""
    try:
        answer: web.StreamResponse = await handler(request)
        return answer
    except (NotThereError, TakenError, ArmError) as error:
        return web.json_response({"error": str(error)}, status=error.status)
    except (ValueError, msgspec.DecodeError) as error:
        return web.json_response({"error": str(error)}, status=400)
    except web.HTTPException as error:
        return web.json_response({"error": f"{error.reason}: {request.method} {request.path}"}, status=error.status)
