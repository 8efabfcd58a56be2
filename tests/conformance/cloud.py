"""The clouds that the wire suites run on: the stand-in, or Azure itself.

CONFORMANCE_AZURE names a JSON file with what there is on Azure (`OnAzure`); without it the stand-in is started. The
suites know a cloud by what `Cloud` has; only tests marked `standin` use more of the stand-in.
"""

import asyncio
import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
from azure.core.credentials import TokenCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.identity import ClientSecretCredential as SyncSecretCredential
from azure.identity import ManagedIdentityCredential as SyncManagedIdentityCredential
from azure.identity.aio import ClientSecretCredential, ManagedIdentityCredential

from infra.local.standin import publisher
from infra.local.standin.certificates import SelfSigned
from infra.local.standin.cosmos.accounts import KeyKind
from infra.local.standin.stand_in import StandIn

VARIABLE = "CONFORMANCE_AZURE"

type Identity = Literal["data", "control"]


class _Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the file; a misspelt or missing name is an error."""


class Deployed(_Given):
    """A tenant with its daemon, whose credential is a secret in the publisher's vault."""

    name: str
    directory_id: str
    subscription_id: str
    resource_group: str
    application_id: str
    cosmos_account: str
    client_id: str
    object_id: str
    credential_name: str

    @property
    def account_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.DocumentDB/databaseAccounts/{self.cosmos_account}"
        )


class Principal(_Given):
    """An application of the publisher's directory, in the place of a managed identity."""

    client_id: str
    client_secret: str


class Application(_Given):
    """An application without rights, whose secret and certificate are registered."""

    client_id: str
    object_id: str
    client_secret: str
    certificate: str  # PEM with its private key


class KeyedAccount(_Given):
    """A Cosmos DB account that the suite may fill, with its keys."""

    endpoint: str
    keys: dict[KeyKind, str]


class KeylessAccount(_Given):
    """A container, partitioned by /pk, of an account without local authentication; `data` is a contributor there."""

    endpoint: str
    database: str
    container: str


class OnAzure(_Given):
    """What a run on Azure is given."""

    directory_id: str
    vault_url: str
    data: Principal  # may get secrets of the vault, nothing else
    control: Principal  # Key Vault Secrets Officer there, Cosmos DB Operator in the managed resource groups
    application: Application
    tenant: Deployed
    other_tenant: Deployed  # the keys of its account are regenerated
    cosmos: KeyedAccount
    registry: KeylessAccount


class Cloud(Protocol):
    """What the suites know of a cloud."""

    publisher_directory_id: str
    vault_url: str
    ca_bundle: str | None

    def start(self) -> dict[str, str]:
        """Have it ready; gives the environment in which clients reach it."""
        ...

    def stop(self) -> None: ...

    def credential(self, identity: Identity) -> AsyncTokenCredential: ...

    def sync_credential(self, identity: Identity) -> TokenCredential: ...

    def application(self) -> Application: ...

    def deploy(self) -> Deployed:
        """A tenant; on Azure always the same one, which is not `shared_tenant()`."""
        ...

    def shared_tenant(self) -> Deployed: ...

    def cosmos_account(self) -> KeyedAccount: ...

    def registry(self) -> KeylessAccount: ...

    def foreign_key(self) -> str:
        """A key of another account than `cosmos_account()`."""
        ...

    def set(self, **settings: Any) -> None:
        """Settings of the stand-in that spare waiting."""
        ...


def given() -> "Cloud | None":
    """The cloud that the environment names."""
    path = os.environ.get(VARIABLE)
    return AzureCloud(msgspec.json.decode(Path(path).read_bytes(), type=OnAzure)) if path else None


class AzureCloud:
    """Azure. Reached with the process's own environment."""

    ca_bundle = None

    def __init__(self, there: OnAzure) -> None:
        self._there = there
        self.publisher_directory_id = there.directory_id
        self.vault_url = there.vault_url

    def start(self) -> dict[str, str]:
        return {}

    def stop(self) -> None:
        pass

    def credential(self, identity: Identity) -> AsyncTokenCredential:
        return ClientSecretCredential(*self._principal(identity))

    def sync_credential(self, identity: Identity) -> TokenCredential:
        return SyncSecretCredential(*self._principal(identity))

    def application(self) -> Application:
        return self._there.application

    def deploy(self) -> Deployed:
        return self._there.other_tenant

    def shared_tenant(self) -> Deployed:
        return self._there.tenant

    def cosmos_account(self) -> KeyedAccount:
        return self._there.cosmos

    def registry(self) -> KeylessAccount:
        return self._there.registry

    def foreign_key(self) -> str:
        return "A" * 86 + "=="

    def set(self, **settings: Any) -> None:
        pass

    def _principal(self, identity: Identity) -> tuple[str, str, str]:
        principal = self._there.data if identity == "data" else self._there.control
        return self._there.directory_id, principal.client_id, principal.client_secret


async def _end_others() -> None:
    """End the loop's other tasks: a call that a fault delays may be under way."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class StandInCloud:
    """A running stand-in in a thread of its own, so that synchronous clients and any event loop can talk to it."""

    publisher_directory_id = publisher.DIRECTORY_ID
    vault_url = publisher.VAULT.url + "/"
    data_identity = publisher.DATA_IDENTITY
    control_identity = publisher.CONTROL_IDENTITY
    daemons_group_id = publisher.DAEMONS_GROUP_ID

    def __init__(self, state: Path) -> None:
        self.state = state
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._shift = 0.0

    def start(self) -> dict[str, str]:
        self._thread.start()
        self.stand_in = StandIn(self.state)
        self.azure = self.stand_in.azure
        self.stand_in.world.now = lambda: time.time() + self._shift
        self.endpoints = self.do(self.stand_in.start())
        self.ca_bundle = self.endpoints.ca_bundle
        return self.endpoints.env

    def stop(self) -> None:
        self.do(self.stand_in.stop())
        self.do(_end_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, coroutine: Any) -> Any:
        """Run a coroutine in the stand-in's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def call[T](self, act: Callable[[], T]) -> T:
        """Call a function in the stand-in's thread, where its state may be changed."""

        async def run() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    @contextmanager
    def later(self, seconds: float) -> Iterator[None]:
        """Move the stand-in's clock."""
        self._shift = seconds
        try:
            yield
        finally:
            self._shift = 0.0

    @contextmanager
    def still(self) -> Iterator[None]:
        """Stop the stand-in's clock."""
        world = self.stand_in.world
        running, moment = world.now, world.now()
        world.now = lambda: moment
        try:
            yield
        finally:
            world.now = running

    def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request to the control API: (status, JSON)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.endpoints.stand_in + path, data, method=method)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def set(self, **settings: Any) -> None:
        """Put settings in force; all others get their defaults."""
        status, answer = self.control("PUT", "/settings", settings)
        assert status == 200, answer

    def journal(self, since: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The journal's entries from a number on, and the next number."""
        _, answer = self.control("GET", f"/journal?since={since}")
        return answer["entries"], answer["next"]

    def credential(self, identity: Identity) -> AsyncTokenCredential:
        return ManagedIdentityCredential(client_id=self._identity(identity).client_id)

    def sync_credential(self, identity: Identity) -> TokenCredential:
        return SyncManagedIdentityCredential(client_id=self._identity(identity).client_id)

    def _identity(self, identity: Identity) -> Any:
        return self.data_identity if identity == "data" else self.control_identity

    def application(self) -> Application:
        """A new one."""
        directories, certificate = self.azure.directories, SelfSigned("test")

        def make() -> Application:
            made = directories.create_application(self.publisher_directory_id, "test")
            _, secret = directories.add_secret(made.client_id)
            directories.add_certificate(made.client_id, certificate.certificate)
            return Application(
                client_id=made.client_id,
                object_id=made.principal_id,
                client_secret=secret,
                certificate=certificate.pem(),
            )

        return self.call(make)

    def deploy(self, directory_id: str | None = None) -> Deployed:
        """A new tenant with a daemon."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        status, tenant = self.control("POST", "/tenants", {"name": name, "directory_id": directory_id})
        assert status == 201, tenant
        status, daemon = self.control("POST", "/daemons", {"name": name, "credential": "secret"})
        assert status == 201, daemon
        return Deployed(**tenant, **{name: daemon[name] for name in ("client_id", "object_id", "credential_name")})

    shared_tenant = deploy

    def cosmos_account(self, **properties: Any) -> KeyedAccount:
        """A new one, without databases."""
        name = f"suite{uuid.uuid4().hex[:12]}"
        directory_id = properties.pop("directory_id", self.publisher_directory_id)
        made = self.call(lambda: self.azure.accounts.create(name, f"/suite/{name}", directory_id, **properties))
        return KeyedAccount(endpoint=f"https://{name}.documents.azure.com:443/", keys=dict(made.keys))

    def registry(self, directory_id: str | None = None) -> KeylessAccount:
        """A new one."""
        made = self.cosmos_account(local_auth_disabled=True, directory_id=directory_id or self.publisher_directory_id)
        name = made.endpoint.removeprefix("https://").partition(".")[0]
        definition = {"id": "c", "partitionKey": {"paths": ["/pk"], "kind": "Hash", "version": 2}}

        def fill() -> None:
            self.azure.cosmos.create_database(name, "d")
            self.azure.cosmos.create_container(name, "d", definition)
            self.azure.accounts.add_contributor(name, self.data_identity.principal_id)

        self.call(fill)
        return KeylessAccount(endpoint=made.endpoint, database="d", container="c")

    def foreign_key(self) -> str:
        return self.cosmos_account().keys["primary"]
