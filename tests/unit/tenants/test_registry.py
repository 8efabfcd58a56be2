import asyncio
from typing import Any

import msgspec
import pytest

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import TenantId
from shared.tenants.registry import Registry
from tests.fakes import (
    CONTOSO,
    CONTOSO_HR,
    CONTOSO_RETAIL,
    FABRIKAM,
    FABRIKAM_HR,
    InMemoryDocuments,
    ManualClock,
    registry_documents,
)

LIFETIME = 2.0


@pytest.fixture
def documents() -> Any:
    return registry_documents()


@pytest.fixture
def clock() -> Any:
    return ManualClock()


@pytest.fixture
async def registry(documents: InMemoryDocuments, clock: ManualClock) -> Any:
    made = Registry(documents, clock, lifetime=LIFETIME)
    for names in (CONTOSO_HR, FABRIKAM_HR):
        await made.add(names.tenant())
    clock.advance(LIFETIME)
    documents.calls.clear()
    return made


def lock(documents: InMemoryDocuments, names: Any) -> None:
    documents.put("tenants", msgspec.to_builtins(names.tenant(status="locked")))


async def test_a_tenant_is_read_once_within_its_lifetime(
    registry: Registry, documents: InMemoryDocuments, clock: ManualClock
) -> None:
    assert (await registry.get(CONTOSO_HR.tenant_id)).name == "Contoso"
    lock(documents, CONTOSO_HR)  # by another process
    clock.advance(LIFETIME - 0.001)
    assert (await registry.get(CONTOSO_HR.tenant_id)).status == "active"
    assert len(documents.calls) == 1
    clock.advance(0.001)
    assert (await registry.get(CONTOSO_HR.tenant_id)).status == "locked"


async def test_the_age_of_an_entry_counts_from_when_it_was_asked_for(
    registry: Registry, documents: InMemoryDocuments, clock: ManualClock
) -> None:
    """A lock may have come while the answer was on its way."""
    asking = asyncio.create_task(registry.get(CONTOSO_HR.tenant_id))
    await asyncio.sleep(0)  # asked
    clock.advance(LIFETIME)
    assert (await asking).status == "active"
    lock(documents, CONTOSO_HR)
    assert (await registry.get(CONTOSO_HR.tenant_id)).status == "locked"


async def test_a_directory_is_asked_once_within_its_lifetime(
    registry: Registry, documents: InMemoryDocuments, clock: ManualClock
) -> None:
    assert [tenant.id for tenant in await registry.of_directory(CONTOSO)] == [CONTOSO_HR.tenant_id]
    lock(documents, CONTOSO_HR)
    documents.put("tenants", msgspec.to_builtins(CONTOSO_RETAIL.tenant()))
    clock.advance(LIFETIME - 0.001)
    assert [tenant.status for tenant in await registry.of_directory(CONTOSO)] == ["active"]
    clock.advance(0.001)
    assert [tenant.status for tenant in await registry.of_directory(CONTOSO)] == ["locked", "active"]


async def test_a_directory_of_many_tenants_is_read_to_its_end(registry: Registry, documents: InMemoryDocuments) -> None:
    for number in range(250):
        body = msgspec.to_builtins(CONTOSO_RETAIL.tenant())
        documents.put("tenants", body | {"id": f"ten_{number:026}", "application_id": f"/{number}"})
    assert len(await registry.of_directory(CONTOSO)) == 251


async def test_a_directory_without_tenants_has_none(registry: Registry) -> None:
    assert await registry.of_directory("e0000000-0000-4000-8000-000000000009") == ()


# --- before somebody is refused ---


def readings(documents: InMemoryDocuments) -> int:
    return sum(call[0] == "query" for call in documents.calls)


async def renewed(registry: Registry, clock: ManualClock) -> Any:
    """What a request that comes now is told before it is refused."""
    tenants, sure = await registry.renewed(CONTOSO, clock.monotonic())
    return [tenant.status for tenant in tenants], sure


async def test_before_a_refusal_a_cached_directory_is_read_anew(
    registry: Registry, documents: InMemoryDocuments, clock: ManualClock
) -> None:
    await registry.of_directory(CONTOSO)
    assert await renewed(registry, clock) == (["active"], True)  # read for this very request
    assert readings(documents) == 1
    clock.advance(0.1)
    lock(documents, CONTOSO_HR)  # by another process
    assert await renewed(registry, clock) == (["locked"], True)
    assert [tenant.status for tenant in await registry.of_directory(CONTOSO)] == ["locked"]
    assert readings(documents) == 2


async def test_many_refusals_read_a_directory_once_a_second(
    registry: Registry, documents: InMemoryDocuments, clock: ManualClock
) -> None:
    await registry.of_directory(CONTOSO)
    clock.advance(0.1)
    assert await renewed(registry, clock) == (["active"], True)
    lock(documents, CONTOSO_HR)
    for _ in range(7):
        clock.advance(0.125)
        assert await renewed(registry, clock) == (["active"], False)
    clock.advance(0.125)
    assert await renewed(registry, clock) == (["locked"], True)
    assert readings(documents) == 3


async def test_one_directorys_refusals_do_not_count_for_another(registry: Registry, clock: ManualClock) -> None:
    for directory in (CONTOSO, FABRIKAM):
        await registry.of_directory(directory)
    clock.advance(0.1)
    for directory in (CONTOSO, FABRIKAM):
        assert (await registry.renewed(directory, clock.monotonic()))[1]


async def test_a_reading_that_fails_counts_too(
    registry: Registry, documents: InMemoryDocuments, clock: ManualClock
) -> None:
    await registry.of_directory(CONTOSO)
    clock.advance(0.1)
    documents.failures.append(BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No."))
    with pytest.raises(BulkheadError, match="account_unavailable"):
        await renewed(registry, clock)
    assert await renewed(registry, clock) == (["active"], False)
    assert readings(documents) == 2


async def test_refusals_at_once_share_one_reading(clock: ManualClock) -> None:
    class Slow(InMemoryDocuments):
        """Answers only after others had their turn."""

        async def query(self, query: Any) -> Any:
            found = await super().query(query)
            await asyncio.sleep(0)
            return found

    slow = Slow({"tenants": "kind"})
    registry = Registry(slow, clock)
    slow.put("tenants", msgspec.to_builtins(CONTOSO_HR.tenant()))
    await registry.of_directory(CONTOSO)
    lock(slow, CONTOSO_HR)
    clock.advance(0.1)
    told = await asyncio.gather(*(renewed(registry, clock) for _ in range(5)))
    assert told == [(["locked"], True)] * 5
    assert readings(slow) == 2


async def test_reading_never_answers_from_the_cache(registry: Registry, documents: InMemoryDocuments) -> None:
    await registry.get(CONTOSO_HR.tenant_id)
    lock(documents, CONTOSO_HR)
    assert (await registry.read(CONTOSO_HR.tenant_id)).tenant.status == "locked"
    with pytest.raises(BulkheadError) as caught:
        await registry.confirm(CONTOSO_HR.tenant_id)
    assert caught.value.code == "tenant_locked"
    await registry.confirm(FABRIKAM_HR.tenant_id)


async def test_a_change_by_this_process_is_seen_at_once(registry: Registry) -> None:
    await registry.of_directory(CONTOSO)
    stored = await registry.read(CONTOSO_HR.tenant_id)
    await registry.replace(CONTOSO_HR.tenant(status="locked"), stored.etag)
    assert (await registry.get(CONTOSO_HR.tenant_id)).status == "locked"
    assert [tenant.status for tenant in await registry.of_directory(CONTOSO)] == ["locked"]


async def test_a_new_tenant_is_seen_at_once(registry: Registry) -> None:
    await registry.of_directory(CONTOSO)
    await registry.add(CONTOSO_RETAIL.tenant())
    assert len(await registry.of_directory(CONTOSO)) == 2


async def test_a_tenant_stored_again_is_the_one_that_is_stored(registry: Registry) -> None:
    """The account is asked again when its answer is lost, and then says that the tenant exists."""
    first = await registry.add(CONTOSO_RETAIL.tenant())
    assert await registry.add(CONTOSO_RETAIL.tenant(name="Other")) == first


@pytest.mark.parametrize(
    "tenant_id",
    ["", "ten_", "ten_00000000000000000000000000", "../tenants", "rep_contoso100000000000000000", "ten_x/y"],
)
async def test_an_unknown_tenant_is_not_found(registry: Registry, tenant_id: Any) -> None:
    for ask in (registry.get, registry.read, registry.confirm):
        with pytest.raises(BulkheadError) as caught:
            await ask(TenantId(tenant_id))
        assert caught.value.kind is Kind.NOT_FOUND


async def test_what_is_no_id_is_not_even_asked_for(registry: Registry, documents: InMemoryDocuments) -> None:
    with pytest.raises(BulkheadError):
        await registry.get(TenantId("ten_../../secrets"))
    assert documents.calls == []


@pytest.mark.parametrize(
    "damage",
    [
        {"status": "suspended"},  # a status of a later version
        {"status": None},
        {"account": {"resource_id": "x"}},
        {"daemon": None},
        {"directory_id": 5},
        {"kind": "other"},
        {"signing_keys": [{"kid": "k", "kty": "oct", "alg": "HS256"}]},
    ],
)
async def test_an_entry_that_cannot_be_read_is_no_tenant(
    registry: Registry, documents: InMemoryDocuments, clock: ManualClock, damage: Any
) -> None:
    await registry.get(CONTOSO_HR.tenant_id)
    documents.damage("tenants", CONTOSO_HR.tenant_id, damage)
    clock.advance(LIFETIME)
    with pytest.raises(BulkheadError) as caught:
        await registry.get(CONTOSO_HR.tenant_id)
    assert (caught.value.kind, caught.value.code) == (Kind.BROKEN, "registry_unreadable")
    assert (await registry.get(FABRIKAM_HR.tenant_id)).name == "Fabrikam"


@pytest.mark.parametrize(
    ("part", "field", "address"),
    [
        ("account", "endpoint", "https://forger.example/"),
        ("account", "endpoint", "https://contoso1.documents.azure.com.forger.example:443/"),
        ("account", "endpoint", "https://forger.example/contoso1.documents.azure.com:443/"),
        ("account", "endpoint", "https://contoso1.documents.azure.com:443/\n"),
        ("account", "endpoint", "http://contoso1.documents.azure.com:443/"),
        ("account", "resource_id", "@forger.example/x"),  # what follows https://management.azure.com
        ("account", "resource_id", ".forger.example/subscriptions/x"),
        ("account", "resource_id", CONTOSO_HR.account.resource_id + "?x"),
        ("account", "resource_id", CONTOSO_HR.account.resource_id.replace("/contoso1/", "/contoso1/../x/", 1)),
        ("account", "resource_id", CONTOSO_HR.account.resource_id + "/x"),
        ("credential", "vault", "https://forger.example"),
        ("credential", "vault", "https://kv.vault.azure.net.forger.example"),
        ("credential", "vault", "https://forger.example/kv.vault.azure.net"),
        ("credential", "name", "../keys/x"),
        ("credential", "name", "x?y"),
    ],
)
async def test_nothing_is_sent_to_an_address_that_is_not_azures(
    registry: Registry, documents: InMemoryDocuments, clock: ManualClock, part: str, field: str, address: str
) -> None:
    """Whoever could write to the registry would else be sent the service's and the daemons' tokens."""
    daemon = msgspec.to_builtins(CONTOSO_HR.tenant().daemon)
    account = msgspec.to_builtins(CONTOSO_HR.account)
    (account if part == "account" else daemon["credential"])[field] = address
    documents.damage("tenants", CONTOSO_HR.tenant_id, {"account": account, "daemon": daemon})
    clock.advance(LIFETIME)
    with pytest.raises(BulkheadError) as caught:
        await registry.get(CONTOSO_HR.tenant_id)
    assert caught.value.code == "registry_unreadable"


async def test_a_registry_that_does_not_answer_is_no_old_answer(
    registry: Registry, documents: InMemoryDocuments, clock: ManualClock
) -> None:
    await registry.get(CONTOSO_HR.tenant_id)
    await registry.of_directory(CONTOSO)
    clock.advance(LIFETIME)
    for ask in (registry.get(CONTOSO_HR.tenant_id), registry.of_directory(CONTOSO)):
        documents.failures.append(BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No."))
        with pytest.raises(BulkheadError, match="account_unavailable"):
            await ask


async def test_a_managed_application_has_one_tenant(registry: Registry) -> None:
    twin = CONTOSO_RETAIL.tenant(application_id=CONTOSO_HR.application_id)
    with pytest.raises(BulkheadError) as caught:
        await registry.add(twin)
    assert (caught.value.kind, caught.value.code) == (Kind.CONFLICT, "already_registered")


async def test_of_two_registrations_at_once_one_wins(documents: InMemoryDocuments, clock: ManualClock) -> None:
    registry = Registry(documents, clock)
    both = (CONTOSO_HR.tenant(), CONTOSO_RETAIL.tenant(application_id=CONTOSO_HR.application_id))
    results = await asyncio.gather(*(registry.add(one) for one in both), return_exceptions=True)
    assert sorted(isinstance(result, BulkheadError) for result in results) == [False, True]
    assert len(documents.all("tenants")) == 1


async def test_only_the_named_state_is_replaced(registry: Registry) -> None:
    stored = await registry.read(CONTOSO_HR.tenant_id)
    await registry.replace(CONTOSO_HR.tenant(name="First"), stored.etag)
    with pytest.raises(BulkheadError) as caught:
        await registry.replace(CONTOSO_HR.tenant(name="Second"), stored.etag)
    assert (caught.value.kind, caught.value.code) == (Kind.PRECONDITION_FAILED, "changed_meanwhile")
    assert (await registry.read(CONTOSO_HR.tenant_id)).tenant.name == "First"


async def test_pages_are_ordered_and_can_be_of_one_application(registry: Registry) -> None:
    await registry.add(CONTOSO_RETAIL.tenant())
    ids = sorted(names.tenant_id for names in (CONTOSO_HR, CONTOSO_RETAIL, FABRIKAM_HR))
    assert [tenant.id for tenant in await registry.page(None, None, 2)] == ids[:2]
    assert [tenant.id for tenant in await registry.page(None, ids[1], 2)] == ids[2:]
    assert [one.id for one in await registry.page(FABRIKAM_HR.application_id, None, 5)] == [FABRIKAM_HR.tenant_id]


async def test_the_cache_stays_bounded(documents: InMemoryDocuments, clock: ManualClock) -> None:
    registry = Registry(documents, clock, capacity=1)
    for names in (CONTOSO_HR, FABRIKAM_HR):
        await registry.add(names.tenant())
    for _ in range(2):
        assert (await registry.get(CONTOSO_HR.tenant_id)).directory_id == CONTOSO
        assert (await registry.get(FABRIKAM_HR.tenant_id)).directory_id == FABRIKAM
    for directory in (CONTOSO, FABRIKAM, CONTOSO):
        assert len(await registry.of_directory(directory)) == 1
    assert max(len(registry._by_id), len(registry._by_directory)) == 1
