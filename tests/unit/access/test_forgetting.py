"""Nothing is kept: after the last holder has left, however it left, no reachable object holds a secret's value."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shared.access.broker import Broker
from shared.access.failures import AccessError, Failure
from shared.access.models import Credential, CredentialName, Target
from shared.access.retrieval import Steps
from shared.adapters.entra import Entra
from shared.core.context import REQUEST_ID
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import RequestId
from shared.core.secret import Secret
from tests.broker_stage import LIMITS, READS, WRITES, FakeAzure, broker_of, reachable, turns
from tests.transports import FakeTransport

STEPS = ("vault", "entra", "manager", "account")
CANARY = "Zq7-client-secret"


def kept(azure: FakeAzure, root: object) -> list[Any]:
    """The secrets that still have a value, and the secret texts that `root` keeps alive on this side of Azure."""
    gc.collect()
    texts = [one for one in reachable(root, azure) if isinstance(one, str)]
    return [*azure.alive(), *(text for text in texts if any(secret in text for secret in azure.texts))]


def fails_with(hidden: str) -> None:
    raise ValueError(len(hidden))


async def test_the_search_finds_what_is_kept(azure: FakeAzure, contoso: Target) -> None:
    class Keeper:
        error: Any = None

    keeper = Keeper()
    try:
        fails_with(CANARY)
    except ValueError as error:
        keeper.error = {"tenant": (1.0, error)}
    assert CANARY in reachable(keeper)
    secret = azure._secret("key", azure.keys_of(contoso)["primary"], "")
    assert kept(azure, []) == [secret]
    assert kept(azure, [secret]) == [secret, azure.keys_of(contoso)["primary"]]


async def leaves(azure: FakeAzure, broker: Broker, target: Target) -> Any:
    async with broker.lease(target, WRITES) as documents:
        await documents.read("candidates", "a", "a")
        assert azure.alive("key"), "there was something to forget"
    return documents


async def is_refused(azure: FakeAzure, broker: Broker, target: Target) -> BulkheadError:
    with pytest.raises(BulkheadError) as caught:
        await leaves(azure, broker, target)
    return caught.value


async def fails_inside(azure: FakeAzure, broker: Broker, target: Target) -> Any:
    async def invocation() -> None:
        async with broker.lease(target, READS) as documents:
            left.append(documents)
            raise ZeroDivisionError

    left: list[Any] = []
    with pytest.raises(ZeroDivisionError) as caught:
        await invocation()
    assert not azure.alive()
    return left, caught.value


async def is_cancelled_inside(azure: FakeAzure, broker: Broker, target: Target) -> Any:
    async def invocation() -> None:
        async with broker.lease(target, WRITES):
            await asyncio.sleep(30)

    task = asyncio.create_task(invocation())
    await asyncio.sleep(10)
    assert azure.alive("key")
    task.cancel()
    await asyncio.wait((task,))
    return task


def is_cancelled_at(service: str) -> Callable[[FakeAzure, Broker, Target], Awaitable[Any]]:
    async def way(azure: FakeAzure, broker: Broker, target: Target) -> Any:
        azure.delays[service] = 5
        task = asyncio.create_task(leaves(azure, broker, target))
        await asyncio.sleep(4)
        assert [name for _, name in azure.calls if name in STEPS][-1] == service
        task.cancel()
        await asyncio.wait((task,))
        return task

    return way


def fails_at(service: str, failure: Failure) -> Callable[[FakeAzure, Broker, Target], Awaitable[Any]]:
    async def way(azure: FakeAzure, broker: Broker, target: Target) -> Any:
        azure.faults[service] += [AccessError(1, failure)] * 9
        return await is_refused(azure, broker, target)

    return way


def hangs_at(service: str) -> Callable[[FakeAzure, Broker, Target], Awaitable[Any]]:
    async def way(azure: FakeAzure, broker: Broker, target: Target) -> Any:
        azure.delays[service] = 1_000
        return await is_refused(azure, broker, target)

    return way


async def the_record_is_refused(azure: FakeAzure, broker: Broker, target: Target) -> Any:
    azure.faults["account"].append(BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No."))
    return await is_refused(azure, broker, target)


async def the_tenant_is_locked(azure: FakeAzure, broker: Broker, target: Target) -> Any:
    async with broker.lease(target, WRITES) as documents:
        azure.inactive.add(target.tenant_id)
        await asyncio.sleep(5)
        assert not azure.alive("key"), "even before anybody leaves"
        with pytest.raises(BulkheadError) as caught:
            await documents.read("candidates", "a", "a")
    return documents, caught.value


async def all_keys_are_refused(azure: FakeAzure, broker: Broker, target: Target) -> Any:
    async def regenerate() -> None:
        for kind in ("primary", "secondary"):
            azure.regenerate(target, kind)

    azure.faults["account"] += [regenerate] * 9
    return await is_refused(azure, broker, target)


async def the_key_gets_too_old(azure: FakeAzure, broker: Broker, target: Target) -> Any:
    async with broker.lease(target, WRITES) as documents:
        await asyncio.sleep(LIMITS.max_age)
        assert not azure.alive(), "even before anybody leaves"
        await documents.read("candidates", "a", "a")
    return documents


WAYS = {
    "leaves": leaves,
    "fails inside": fails_inside,
    "is cancelled inside": is_cancelled_inside,
    **{f"is cancelled at {service}": is_cancelled_at(service) for service in STEPS},
    **{f"hangs at {service}": hangs_at(service) for service in STEPS},
    "fails at step 1": fails_at("vault", Failure.DENIED),
    "fails at step 2": fails_at("entra", Failure.CREDENTIAL_REJECTED),
    "fails at step 3": fails_at("manager", Failure.THROTTLED),
    "the record is refused": the_record_is_refused,
    "the tenant is locked": the_tenant_is_locked,
    "all keys are refused": all_keys_are_refused,
    "the key gets too old": the_key_gets_too_old,
}


@pytest.mark.parametrize("share", [True, False], ids=["shared", "unshared"])
@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_kept_when_an_invocation(azure: FakeAzure, contoso: Target, way: str, share: Any) -> None:
    broker = broker_of(azure, share=share)
    left = await WAYS[way](azure, broker, contoso)
    await turns()  # a retrieval that is given up runs to its end
    assert kept(azure, [broker, azure.loop, left]) == []
    assert not broker._open
    assert not broker._shared


async def test_no_timer_or_task_of_the_broker_keeps_the_context_of_an_invocation(
    azure: FakeAzure, contoso: Target
) -> None:
    """What runs on after an invocation would else go out under its id, and keep whatever its context holds."""
    seen = []

    async def note() -> None:
        seen.append(REQUEST_ID.get())

    azure.faults["registry"] += [note] * 9
    azure.faults["anchors"] += [note] * 9
    REQUEST_ID.set(RequestId("req_1"))
    async with broker_of(azure).lease(contoso, READS):
        await asyncio.sleep(3)
    await asyncio.sleep(60)
    assert len(seen) > 2
    assert set(seen) == {""}


class Vault:
    async def read(self, _: CredentialName) -> Credential:
        return Credential(form="client_secret", value=Secret(CANARY))


class Forgetful(list[Any]):
    """In place of the requests that a fake transport keeps."""

    def append(self, _: Any) -> None:
        """Keep nothing."""


@pytest.mark.parametrize(
    ("status", "code"), [(401, "invalid_client"), (400, "unauthorized_client"), (429, "x"), (400, "invalid_scope")]
)
async def test_neither_a_remembered_failure_nor_a_told_one_holds_what_the_adapter_sent(
    azure: FakeAzure, contoso: Target, status: int, code: str
) -> None:
    transport = FakeTransport(lambda _: (status, {"error": code}, {"Retry-After": "60"}))
    transport.requests = Forgetful()
    steps = Steps(Vault(), Entra(transport), azure, azure.loop)
    broker = Broker(steps, azure, azure, azure, azure.loop, azure.watch, LIMITS, share=True, instances=1)
    with pytest.raises(BulkheadError) as caught:
        async with broker.lease(contoso, READS):
            pass
    assert broker._failed, "the failure is remembered"
    reached = [broker, caught.value, *reachable([broker, caught.value], azure)]
    assert not [one for one in reached if isinstance(one, str) and CANARY in one]
