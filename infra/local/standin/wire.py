"""What every service of the stand-in shares: calls, answers, the journal, latency and faults, issued secrets."""

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Literal, Protocol, get_args

import msgspec
from msgspec import Meta

from infra.local.standin.settings import Seconds, Settings
from infra.local.standin.storage import Storage

type ServiceName = Literal[
    "entra", "managed_identity", "key_vault", "resource_manager", "graph", "cosmos", "service_bus"
]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName.__value__)

type Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]  # an hour: longer ones are slips


@dataclass(slots=True)
class Call:
    """One request to one service. The service's `route` names operation and target, its handler the principal."""

    method: str
    host: str  # lower case, without port
    path: str  # raw, percent-encoded, without query
    query: Mapping[str, str]
    headers: Mapping[str, str]  # case-insensitive
    body: bytes
    operation: str = "unknown"
    target: str = ""
    principal: str = "anonymous"

    @property
    def correlation_id(self) -> str:
        """The caller's correlation id, whichever of Azure's headers carries it; empty without one."""
        for name in ("x-ms-correlation-request-id", "x-ms-client-request-id", "client-request-id"):
            if value := self.headers.get(name):
                return value
        return ""


@dataclass(slots=True)
class Answer:
    """An HTTP answer. A `body` of dict or list is sent as JSON."""

    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


type Handler = Callable[[], Answer]


def fault_message(status: int) -> str:
    """The text of a service's error that is not its own finding: an injected fault, or a call that it does not play."""
    return "The stand-in for Azure does not implement this call." if status == 501 else "The request was not processed."


def retry_after_header(seconds: float | None) -> dict[str, str]:
    """Retry-After of an error answer, if the client is to be told."""
    return {} if seconds is None else {"Retry-After": f"{seconds:g}"}


class HttpService(Protocol):
    """A service that speaks HTTP."""

    name: ServiceName
    operations: frozenset[str]  # the names that `route` gives to what is implemented

    def route(self, call: Call) -> Handler | None:
        """Set `call.operation` and `call.target` and give the handler; None for what is not implemented (501)."""
        ...

    def error(self, status: int, retry_after: float | None) -> Answer:
        """The service's own error answer for `status`, for injected faults and 501."""
        ...


@dataclass(slots=True, frozen=True)
class Entry:
    """One line of the journal: who did what to which target, and how it was answered."""

    seq: int
    time: str
    service: ServiceName
    operation: str
    principal: str
    target: str
    status: int
    correlation_id: str


class Journal:
    """The latest requests that reached a service, newest last."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=200_000)
        self._next = 1

    def record(
        self, service: ServiceName, operation: str, principal: str, target: str, status: int, correlation_id: str = ""
    ) -> None:
        """Append one entry, stamped with the current time."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._entries.append(Entry(self._next, moment, service, operation, principal, target, status, correlation_id))
        self._next += 1

    def since(self, seq: int) -> tuple[list[Entry], int]:
        """Entries with a number of at least `seq`, and the number that the next entry will have."""
        first = self._entries[0].seq if self._entries else self._next
        start = max(0, seq - first)
        return list(islice(self._entries, start, None)), self._next


class FaultRule(msgspec.Struct, forbid_unknown_fields=True):
    """One injected fault. A rule without `operation`, `target` matches all; `target` matches as a substring.

    `delay_ms` holds the call before it is carried out; `status` answers with the service's error of that status instead
    of carrying it out (`retry_after` alone means 429); `drop` closes the connection, True or "request" before the call
    is carried out, "answer" after; `times` ends the rule.
    """

    service: ServiceName
    operation: str | None = None
    target: str | None = None
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    retry_after: Seconds | None = None
    delay_ms: Milliseconds | None = None
    drop: bool | Literal["request", "answer"] = False
    times: Annotated[int, Meta(ge=0)] | None = None  # that are left
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0

    def fits(self, service: ServiceName, operation: str, target: str) -> bool:
        """Whether it is about such a call, and not used up."""
        named = self.service == service and self.operation in (None, operation)
        return named and (self.target or "") in target and self.times != 0

    def __post_init__(self) -> None:
        if self.retry_after is not None and self.status is None:
            self.status = 429
        if self.status is None and not self.delay_ms and not self.drop:
            raise ValueError("A fault needs something to do: `status`, `retry_after`, `delay_ms` or `drop`")


class Weather:
    """Latency and faults that are in force. They stay so over a restart."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.latency_ms: dict[ServiceName, float] = json.loads(storage.kept("weather", "latency", lambda: "{}"))
        self.rules = msgspec.json.decode(storage.kept("weather", "rules", lambda: "[]"), type=list[FaultRule])

    def set_latency(self, milliseconds: Mapping[ServiceName, float]) -> None:
        """Replace all latencies; a service that is not named has none."""
        self.latency_ms = dict(milliseconds)
        self._storage.put("weather", "latency", json.dumps(self.latency_ms))

    def set_rules(self, rules: Sequence[FaultRule]) -> None:
        """Replace all faults."""
        self.rules = list(rules)
        self._save_rules()

    def _save_rules(self) -> None:
        self._storage.put("weather", "rules", msgspec.json.encode(self.rules).decode())

    def strike(self, service: ServiceName, operation: str, target: str) -> FaultRule | None:
        """The first rule that applies to this call now, counted as used."""
        for rule in self.rules:
            if rule.fits(service, operation, target) and random.random() < rule.probability:  # noqa: S311 - no secret
                if rule.times is not None:
                    rule.times -= 1
                    self._save_rules()
                return rule
        return None

    async def delay(self, service: ServiceName, arrived: float) -> None:
        """Wait until the service's latency has passed since the request `arrived` (loop time).

        So the stand-in's own work is part of a latency, as a service's is, and does not come on top of it.
        """
        loop = asyncio.get_running_loop()
        end = arrived + self.latency_ms.get(service, 0.0) / 1000
        # A timer rings late: after a long wait by a share of it, and always by up to a millisecond, since selectors
        # count whole ones. So the end is approached by timers, and met by looking at the clock.
        for early in (0.003, 0.0012):
            if (left := end - early - loop.time()) > 0:
                await asyncio.sleep(left)
        while loop.time() < end:  # noqa: ASYNC110 - it is the clock that is waited for, and no event tells of it
            await asyncio.sleep(0)


class IssuedSecrets:
    """Every secret value that the stand-in has ever given out, for leak scans."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._values: dict[str, str] = dict(storage.load("issued_secrets"))

    def add(self, kind: str, value: str) -> None:
        """Note `value`; `kind` such as `account_key`, `daemon_secret`, `private_key`, `access_token`."""
        if value not in self._values:
            self._values[value] = kind
            self._storage.put("issued_secrets", value, kind)

    def all(self) -> list[dict[str, str]]:
        """`[{kind, value}]`."""
        return [{"kind": kind, "value": value} for value, kind in self._values.items()]


@dataclass(slots=True)
class World:
    """What the services of one stand-in share."""

    storage: Storage
    journal: Journal = field(default_factory=Journal)
    now: Callable[[], float] = time.time  # seconds since the epoch
    weather: Weather = field(init=False)
    secrets: IssuedSecrets = field(init=False)
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.weather = Weather(self.storage)
        self.secrets = IssuedSecrets(self.storage)
        self.settings = msgspec.json.decode(self.storage.kept("settings", "all", lambda: "{}"), type=Settings)

    def change(self, settings: Settings) -> None:
        """Put settings in force, now and after a restart."""
        self.settings = settings
        self.storage.put("settings", "all", msgspec.json.encode(settings).decode())
