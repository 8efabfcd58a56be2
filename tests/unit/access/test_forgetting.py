"""After a lease that could not be had, nothing that stays reachable holds the credential that was tried."""

import asyncio
import gc
import types
from collections.abc import Iterator
from typing import Any

import pytest

from shared.access.broker import Broker
from shared.access.models import Credential, CredentialName
from shared.access.retrieval import Steps
from shared.adapters.entra import Entra
from shared.core.errors import BulkheadError
from shared.core.lease import Purpose
from shared.core.secret import Secret
from shared.settings import Settings
from tests.fakes import CONTOSO_HR, ManualClock
from tests.transports import FakeTransport
from tests.world import ENV

CANARY = "Zq7-client-secret"
PURPOSE = Purpose("user:1", "candidates.read", "cand_1", "req_1", writes=False)


class Vault:
    async def read(self, name: CredentialName) -> Credential:
        assert name == CONTOSO_HR.tenant().daemon.credential
        return Credential(form="client_secret", value=Secret(CANARY))


class Forgetful(list[Any]):
    """In place of the requests that a fake transport keeps."""

    def append(self, _: Any) -> None:
        """Keep nothing."""


def reachable(root: object) -> Iterator[object]:
    """Everything that `root` keeps alive: attributes, items, and what the frames of tracebacks hold."""
    seen: set[int] = set()
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


def fails_with(hidden: str) -> None:
    raise ValueError(len(hidden))


def test_the_search_finds_what_an_error_keeps() -> None:
    class Keeper:
        kept: Any = None

    keeper = Keeper()
    try:
        fails_with(CANARY)
    except ValueError as error:
        keeper.kept = {"tenant": (1.0, error)}
    assert CANARY in reachable(keeper)


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("status", "code"), [(401, "invalid_client"), (400, "unauthorized_client"), (429, "x"), (400, "invalid_scope")]
)
async def test_a_remembered_failure_holds_nothing_of_what_was_sent(status: int, code: str) -> None:
    transport = FakeTransport(lambda _: (status, {"error": code}, {"Retry-After": "60"}))
    transport.requests = Forgetful()
    clock, settings = ManualClock(), Settings.from_env(ENV)
    unused: Any = None
    broker = Broker(
        Steps(Vault(), Entra(transport), unused, clock, at_once), unused, unused, unused, clock, lambda *_, **__: None,
        settings.lease_limits, share=True, instances=1,
    )  # fmt: skip
    with pytest.raises(BulkheadError):
        async with broker.lease(CONTOSO_HR.tenant().target, PURPOSE):
            pass
    assert broker._failed, "the failure is remembered"
    assert not [one for one in reachable(broker._failed) if isinstance(one, str) and CANARY in one]
    assert not [one for one in reachable(broker._failed) if isinstance(one, types.TracebackType)]
