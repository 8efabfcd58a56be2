"""A stage for tests of the broker: Azure as the broker meets it, in memory, on the event loop's (virtual) time.

It refuses what Azure refuses, so a test only has to bring about what happens: a key is regenerated, a credential
rotated, a right taken away. And it remembers: every call, every signature and whose key made it, every secret.
"""

import asyncio
import base64
import gc
import hashlib
import hmac
import types
import weakref
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import unquote

import msgspec

from shared.access.broker import Broker
from shared.access.documents import Document, Json, KeyRefusedError, Query
from shared.access.failures import AccessError, Failure
from shared.access.models import Account, Credential, CredentialName, Daemon, Target
from shared.access.retrieval import Steps
from shared.core.audit import Head
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import TenantId
from shared.core.lease import KeyKind, Keyring, LeaseExpiredError, LeaseLimits, Purpose
from shared.core.secret import Secret
from tests.fakes import Names, tenant_documents

LIMITS = LeaseLimits(max_age=60, keep_key=120, keep_token=300, patience=20)  # settings.py's defaults
KINDS: tuple[KeyKind, ...] = ("primary", "secondary", "primary_readonly", "secondary_readonly")
READS = Purpose("user:1", "candidates.read", "cand_1", "req_1", writes=False)
WRITES = Purpose("user:1", "candidates.write", "cand_1", "req_1", writes=True)
SERVICES = ("vault", "entra", "manager", "account", "registry", "anchors")


@dataclass(frozen=True)
class Signature:
    """A request that reached an account: when, at which account, by which lease, and with whose key it was signed."""

    time: float
    endpoint: str
    lease_id: str
    for_record: bool
    owner: str  # the endpoint whose key it is
    kind: KeyKind
    fingerprint: str


@dataclass
class FakeAccount:
    """One tenant's account: its keys in force, and what is stored."""

    target: Target
    keys: dict[KeyKind, str]
    documents: Any = field(default_factory=tenant_documents)


class FakeAzure:
    """Everything behind the broker's ports.

    `delays` are seconds that a service takes (`signing`: a client, before it signs). `faults` are what its next calls
    do before they have an effect: an exception is raised, a function awaited, None is nothing. So many answers of
    accounts are `lost` after they wrote.
    """

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.delays: dict[str, float] = defaultdict(float)
        self.faults: dict[str, deque[Exception | Callable[[], Awaitable[Any]] | None]] = defaultdict(deque)
        self.lost = 0
        self.calls: list[tuple[float, str]] = []
        self.listed: list[float] = []
        self.signatures: list[Signature] = []
        self.secrets: list[tuple[str, weakref.ref[Secret], float, str]] = []  # what, itself, made when, whose
        self.accounts: dict[str, FakeAccount] = {}
        self.inactive: set[TenantId] = set()
        self.anchors: dict[TenantId, dict[str, Head]] = defaultdict(dict)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []  # every secret text ever
        self._owners: dict[str, tuple[str, KeyKind]] = {}
        self._stored: dict[str, str] = {}  # credentials in the vault
        self._accepted: dict[str, str] = {}  # and at Entra, by client
        self._rights: dict[str, str] = {}  # client of the daemon, by account
        self._tokens: dict[str, str] = {}  # whose
        self._numbers = count(1)

    # --- what happens to it ---

    def add(self, names: Names) -> Target:
        """A tenant with an account and a daemon of its own."""
        tenant = names.tenant()
        target = Target(
            tenant_id=tenant.id,
            account=tenant.account,
            daemon=Daemon(
                directory_id=tenant.daemon.directory_id,
                client_id=type(tenant.daemon.client_id)(f"daemon-of-{tenant.id}"),
                credential=msgspec.structs.replace(tenant.daemon.credential, name=f"daemon-{tenant.id}"),
            ),
        )
        self.accounts[target.account.endpoint] = FakeAccount(target, {})
        for kind in KINDS:
            self.regenerate(target, kind)
        self.rotate(target)
        self._rights[target.account.resource_id] = target.daemon.client_id
        return target

    def regenerate(self, target: Target, kind: KeyKind) -> None:
        key = base64.b64encode(hashlib.sha512(f"key {next(self._numbers)}".encode()).digest()).decode()
        self.accounts[target.account.endpoint].keys[kind] = key
        self._owners[key] = target.account.endpoint, kind
        self.texts.append(key)

    def rotate(self, target: Target, *, in_vault: bool = True, at_entra: bool = True) -> None:
        """A new credential of the tenant's daemon, known where it says."""
        text = f"credential {next(self._numbers)} Zq7"
        self.texts.append(text)
        if in_vault:
            self._stored[target.daemon.credential.name] = text
        if at_entra:
            self._accepted[target.daemon.client_id] = text

    def spread(self, target: Target) -> None:
        """What lies in the vault is known at Entra."""
        self._accepted[target.daemon.client_id] = self._stored[target.daemon.credential.name]

    def deny(self, target: Target) -> None:
        self._rights.pop(target.account.resource_id, None)

    def grant(self, target: Target) -> None:
        self._rights[target.account.resource_id] = target.daemon.client_id

    def keys_of(self, target: Target) -> dict[KeyKind, str]:
        return self.accounts[target.account.endpoint].keys

    def records(self, target: Target) -> list[Json]:
        """The access records of a tenant, in the order in which they were written."""
        stored = self.accounts[target.account.endpoint].documents.all("access_log")
        records = [body for body in stored if body["kind"] == "record"]
        return sorted(records, key=lambda one: (one["writer"][:14], one["number"]))  # a writer's id begins with a time

    def count(self, service: str) -> int:
        return sum(name == service for _, name in self.calls)

    def named(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def alive(self, what: str = "") -> list[Secret]:
        """Secrets that somebody still holds and that still have their value."""
        kept = [(kind, reference()) for kind, reference, _, _ in self.secrets]
        return [one for kind, one in kept if what in kind and one is not None and not one.forgotten]

    # --- the ports ---

    async def read(self, name: CredentialName) -> Credential:
        await self._serve("vault")
        return Credential(form="client_secret", value=self._secret("credential", self._stored[name.name], name.name))

    async def take_on(self, daemon: Daemon, credential: Credential) -> Secret:
        shown = hashlib.sha256(credential.value.reveal().encode()).digest()
        await self._serve("entra")
        if shown != hashlib.sha256(self._accepted[daemon.client_id].encode()).digest():
            raise AccessError(2, Failure.CREDENTIAL_REJECTED, status=401)
        text = f"token {next(self._numbers)} Zq7"
        self.texts.append(text)
        self._tokens[text] = daemon.client_id
        return self._secret("token", text, daemon.client_id)

    async def list_keys(self, account: Account, token: Secret) -> Keyring:
        client = self._tokens[token.reveal()]
        self.listed.append(self.loop.time())
        await self._serve("manager")
        if self._rights.get(account.resource_id) != client:
            raise AccessError(3, Failure.DENIED, status=403)
        keys = self.accounts[account.endpoint].keys
        listed = [(kind, self._secret("key", key, account.endpoint)) for kind, key in keys.items()]
        return Keyring(account.resource_id, listed)

    def open(self, account: Account, signer: Any) -> "SignedDocuments":
        return SignedDocuments(self, account.endpoint, signer)

    async def confirm(self, tenant_id: TenantId) -> None:
        await self._serve("registry")
        if tenant_id in self.inactive:
            raise BulkheadError(Kind.UNAVAILABLE, "tenant_locked", "The tenant is locked.")

    async def keep(self, tenant_id: TenantId, head: Head) -> None:
        await self._serve("anchors")
        self.anchors[tenant_id][head.writer] = head

    async def of(self, tenant_id: TenantId) -> Sequence[Head]:
        return list(self.anchors[tenant_id].values())

    def watch(self, name: str, /, **fields: Any) -> None:
        self.events.append((name, fields))

    # --- inside ---

    async def arrive(self, endpoint: str, signer: Any, verb: str, link: str) -> KeyKind:
        """One signed request: which key signed it. Raises KeyRefusedError when that is none of those in force."""
        await asyncio.sleep(self.delays["signing"])
        date = f"date {next(self._numbers)}"
        made = self._signature(endpoint, signer, signer.sign(endpoint, verb, "docs", link, date), verb, link, date)
        self.signatures.append(made)
        await self._serve("account")
        if Secret(self.accounts[endpoint].keys[made.kind]).fingerprint(self._id_of(endpoint)) != made.fingerprint:
            raise KeyRefusedError
        return made.kind

    def _signature(self, endpoint: str, signer: Any, authorization: str, verb: str, link: str, date: str) -> Signature:
        key = self._signed_by(authorization, f"{verb.lower()}\ndocs\n{link}\n{date}\n\n")
        owner, kind = self._owners[key]
        lease = getattr(signer, "lease", None) or signer._lease
        return Signature(
            self.loop.time(), endpoint, lease.id, hasattr(signer, "lease"), owner, kind,
            Secret(key).fingerprint(self._id_of(owner)),
        )  # fmt: skip

    def _id_of(self, endpoint: str) -> str:
        return self.accounts[endpoint].target.account.resource_id

    def _signed_by(self, authorization: str, text: str) -> str:
        shown = unquote(authorization).removeprefix("type=master&ver=1.0&sig=")
        for key in self._owners:
            digest = hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)
            if base64.b64encode(digest).decode() == shown:
                return key
        raise AssertionError("signed with no key of any account")

    async def _serve(self, service: str) -> None:
        self.calls.append((self.loop.time(), service))
        await asyncio.sleep(self.delays[service])
        if self.faults[service] and (fault := self.faults[service].popleft()) is not None:
            if isinstance(fault, Exception):
                raise fault
            await fault()

    def _secret(self, what: str, text: str, whose: str) -> Secret:
        secret = Secret(text)
        self.secrets.append((what, weakref.ref(secret), self.loop.time(), whose))
        return secret


class SignedDocuments:
    """shared.access.documents.Documents of one account. Renews a key as the adapter does: refused, or too old."""

    def __init__(self, azure: FakeAzure, endpoint: str, signer: Any) -> None:
        self._azure = azure
        self._endpoint = endpoint
        self._signer = signer
        self._stored = azure.accounts[endpoint].documents

    async def read(self, container: str, partition: str, document_id: str) -> Document | None:
        await self._arrive("GET", container)
        return await self._stored.read(container, partition, document_id)

    async def create(self, container: str, body: Json) -> Document:
        assert not (await self._arrive("POST", container)).endswith("readonly")
        return await self._stored.create(container, body)

    async def write_together(
        self, container: str, partition: str, create: Sequence[Json], upsert: Sequence[Json]
    ) -> None:
        assert not (await self._arrive("POST", container)).endswith("readonly")
        await self._stored.write_together(container, partition, create, upsert)
        if self._azure.lost > 0:
            self._azure.lost -= 1
            raise _unavailable()

    async def query(self, query: Query) -> Sequence[Document]:
        await self._arrive("POST", query.container)
        return await self._stored.query(query)

    async def _arrive(self, verb: str, container: str) -> KeyKind:
        link = f"dbs/bulkhead/colls/{container}"
        for left in (2, 1, 0):
            try:
                return await self._azure.arrive(self._endpoint, self._signer, verb, link)
            except KeyRefusedError as error:
                if not left:
                    raise _unavailable() from error
                await self._signer.renew(refused=True)
            except LeaseExpiredError as error:
                if not left:
                    raise _unavailable() from error
                await self._signer.renew(refused=False)
        raise AssertionError


def _unavailable() -> BulkheadError:
    return BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "The account does not answer.")


def broker_of(azure: FakeAzure, limits: LeaseLimits = LIMITS, *, share: bool = True, instances: int = 1) -> Broker:
    """A broker in this world."""
    steps = Steps(azure, azure, azure, azure.loop)
    return Broker(steps, azure, azure, azure, azure.loop, azure.watch, limits, share=share, instances=instances)


async def turns(number: int = 20) -> None:
    """Let everything that is ready run, without time passing."""
    for _ in range(number):
        await asyncio.sleep(0)


def reachable(root: object, *beyond: object) -> Iterator[object]:
    """Everything that `root` keeps alive: attributes, items, what frames of tracebacks hold. Not what is `beyond`."""
    seen = {id(one) for one in beyond}
    todo: list[Any] = [root]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, types.ModuleType | type | types.FunctionType | types.BuiltinFunctionType):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, types.FrameType):
            todo += one.f_locals.values()
        elif isinstance(one, types.TracebackType):
            todo += [one.tb_frame, one.tb_next]
        elif isinstance(one, dict):  # the collector is not told what the dictionary of an instance holds
            todo += [*one.keys(), *one.values()]
        else:
            if isinstance(one, BaseException):
                todo += [one.__cause__, one.__context__, one.__traceback__]
            todo += [*gc.get_referents(one), getattr(one, "__dict__", None)]
