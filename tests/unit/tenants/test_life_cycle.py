from typing import Any

import msgspec
import pytest

from shared.access.failures import AccessError, Failure, unavailable
from shared.access.models import Account, CredentialName
from shared.core.caller import TokenCaller
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import RequestId, TenantId, is_id, new_id
from shared.tenants.life_cycle import LifeCycle
from shared.tenants.models import DaemonChange, Registration
from shared.tenants.ports import ManagedApplication
from shared.tenants.registry import Registry
from tests.fakes import (
    CONTOSO,
    CONTOSO_HR,
    FRONT_END,
    PUBLISHER,
    START,
    FakeApplications,
    FakeBroker,
    ManualClock,
    registry_documents,
    tenant_documents,
)

OPERATOR = TokenCaller(PUBLISHER, "operator", FRONT_END, frozenset({"Publisher.Operate"}))
WANTED = Registration(
    name="Contoso HR",
    application_id=CONTOSO_HR.application_id.replace("resourcegroups", "resourceGroups").replace(
        "microsoft.solutions", "Microsoft.Solutions"
    ),
    daemon_client_id="DA000000-0000-4000-8000-000000000001",
    credential="secret",
    credential_name="daemon-contoso",
)
VAULT = "https://bulkhead-kv.vault.azure.net"


@pytest.fixture
def documents() -> Any:
    return registry_documents()


@pytest.fixture
def account() -> Any:
    return tenant_documents()


@pytest.fixture
def broker(account: Any) -> Any:
    return FakeBroker({CONTOSO_HR.account.endpoint: account})


def life_cycle(documents: Any, broker: FakeBroker, *, account: Any = CONTOSO_HR.account, federated: Any = False) -> Any:
    clock = ManualClock()
    application = ManagedApplication(application_id=CONTOSO_HR.application_id, directory_id=CONTOSO, account=account)
    return LifeCycle(
        Registry(documents, clock), FakeApplications([application]), broker, clock,
        publisher_directory_id=PUBLISHER, vault=VAULT + "/", federated=federated,
    )  # fmt: skip


async def register(made: Any, **changes: Any) -> Any:
    tenant_id = TenantId(new_id("ten", START))
    return await made.register(tenant_id, msgspec.structs.replace(WANTED, **changes), OPERATOR, RequestId("req_1"))


async def test_directory_and_account_come_from_resource_manager(documents: Any, broker: FakeBroker) -> None:
    tenant = (await register(life_cycle(documents, broker))).tenant
    assert is_id("ten", tenant.id)
    assert (tenant.name, tenant.status) == ("Contoso HR", "active")
    assert (tenant.directory_id, tenant.account) == (CONTOSO, CONTOSO_HR.account)
    assert tenant.application_id == CONTOSO_HR.application_id
    assert tenant.daemon.directory_id == PUBLISHER
    assert tenant.daemon.client_id == WANTED.daemon_client_id.lower()
    assert tenant.daemon.credential.vault == VAULT
    assert tenant.allowed_client_ids == tenant.signing_keys == ()
    assert [stored["id"] for stored in documents.all("tenants")] == [tenant.id]


def test_a_request_cannot_even_name_directory_or_account() -> None:
    for field in ("directory_id", "account", "endpoint", "tenant_id", "status", "id"):
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.convert(msgspec.to_builtins(WANTED) | {field: "x"}, Registration)


async def test_the_whole_chain_is_walked_before_anything_is_stored(documents: Any, broker: FakeBroker) -> None:
    stored = (await register(life_cycle(documents, broker))).tenant
    ((target, purpose),) = broker.leases
    assert broker.watched == [False]  # the registry does not know it yet
    assert target == stored.target
    assert (purpose.actor, purpose.action, purpose.writes) == ("user:operator", "tenants.register", True)
    assert purpose.object_id == stored.id


@pytest.mark.parametrize("step", [1, 2, 3, 5])
async def test_nothing_is_stored_when_a_step_fails(documents: Any, broker: FakeBroker, step: Any) -> None:
    broker.failures.append(unavailable(AccessError(step, Failure.DENIED)))
    with pytest.raises(BulkheadError, match="tenant_access_denied"):
        await register(life_cycle(documents, broker))
    assert documents.all("tenants") == []


@pytest.mark.parametrize(
    ("step", "failure", "code"),
    [
        (1, Failure.NOT_FOUND, "validation_failed"),
        (1, Failure.DENIED, "tenant_access_denied"),
        (2, Failure.NOT_FOUND, "tenant_access_missing"),  # the daemon application may be too new to be known
        (3, Failure.NOT_FOUND, "tenant_access_missing"),
    ],
)
async def test_a_credential_that_is_not_there_is_the_requests_fault(
    documents: Any, broker: FakeBroker, step: Any, failure: Failure, code: str
) -> None:
    told = unavailable(cause := AccessError(step, failure))
    told.__cause__ = cause
    broker.failures.append(told)
    with pytest.raises(BulkheadError) as caught:
        await register(life_cycle(documents, broker))
    assert caught.value.code == code
    assert [field.pointer for field in caught.value.fields] == ["/credential_name"] * (code == "validation_failed")
    assert documents.all("tenants") == []


async def test_nothing_is_stored_for_an_application_that_is_not_there(documents: Any, broker: FakeBroker) -> None:
    other = WANTED.application_id + "x"
    with pytest.raises(BulkheadError) as caught:
        await register(life_cycle(documents, broker), application_id=other)
    assert caught.value.kind is Kind.UNPROCESSABLE
    assert documents.all("tenants") == broker.leases == []


async def test_an_application_is_registered_once(documents: Any, broker: FakeBroker) -> None:
    made = life_cycle(documents, broker)
    await register(made)
    for spelled in (WANTED.application_id, WANTED.application_id.upper(), WANTED.application_id[1:]):
        with pytest.raises(BulkheadError) as caught:
            await register(made, application_id=spelled)
        assert (caught.value.kind, caught.value.code) == (Kind.CONFLICT, "already_registered")
    assert len(documents.all("tenants")) == len(broker.leases) == 1


async def test_the_credential_may_lie_in_another_vault(documents: Any, broker: FakeBroker) -> None:
    tenant = (await register(life_cycle(documents, broker), vault="https://second-kv.vault.azure.net/")).tenant
    assert tenant.daemon.credential.vault == "https://second-kv.vault.azure.net"


async def test_a_federated_daemon_only_where_the_deployment_allows_it(documents: Any, broker: FakeBroker) -> None:
    with pytest.raises(BulkheadError) as caught:
        await register(life_cycle(documents, broker), credential="federated", credential_name=None)
    assert [field.pointer for field in caught.value.fields] == ["/credential"]
    made = life_cycle(documents, broker, federated=True)
    tenant = (await register(made, credential="federated", credential_name=None)).tenant
    assert (tenant.daemon.credential.kind, tenant.daemon.credential.name) == ("federated", "")


async def test_a_credential_needs_its_name(documents: Any, broker: FakeBroker) -> None:
    with pytest.raises(BulkheadError) as caught:
        await register(life_cycle(documents, broker), credential_name=None)
    assert [field.pointer for field in caught.value.fields] == ["/credential_name"]


async def change(made: Any, stored: Any, etag: str = "", **changes: Any) -> Any:
    return await made.change_daemon(
        stored.tenant.id, DaemonChange(**changes), etag or stored.etag, OPERATOR, RequestId("req_2")
    )


async def test_a_daemons_credential_is_changed_once_it_has_opened_the_account(
    documents: Any, broker: FakeBroker
) -> None:
    made = life_cycle(documents, broker, federated=True)
    stored = await register(made)
    before = stored.tenant

    after = (await change(made, stored, credential="federated")).tenant

    assert after == msgspec.structs.replace(
        before,
        daemon=msgspec.structs.replace(before.daemon, credential=CredentialName(kind="federated")),
        updated_at=after.updated_at,
    )
    assert documents.all("tenants") == [msgspec.to_builtins(after)]
    target, purpose = broker.leases[-1]
    assert broker.watched[-1]  # a lock is in force for this too
    assert target == after.target
    assert (purpose.actor, purpose.action, purpose.object_id) == ("user:operator", "tenants.write", after.id)


async def test_another_daemon_takes_the_place(documents: Any, broker: FakeBroker) -> None:
    made = life_cycle(documents, broker)
    other = "DB000000-0000-4000-8000-000000000002"
    after = (
        await change(
            made, await register(made), credential="certificate", credential_name="new", daemon_client_id=other
        )
    ).tenant
    assert (after.daemon.client_id, after.daemon.directory_id) == (other.lower(), PUBLISHER)
    assert after.daemon.credential == CredentialName(kind="certificate", vault=VAULT, name="new")


async def test_a_credential_that_opens_nothing_changes_nothing(documents: Any, broker: FakeBroker) -> None:
    made = life_cycle(documents, broker)
    stored = await register(made)
    broker.failures.append(unavailable(AccessError(2, Failure.CREDENTIAL_REJECTED)))
    with pytest.raises(BulkheadError, match="tenant_access_pending"):
        await change(made, stored, credential="secret", credential_name="other")
    assert documents.all("tenants") == [msgspec.to_builtins(stored.tenant)]


async def test_a_change_needs_the_state_that_it_was_made_for(documents: Any, broker: FakeBroker) -> None:
    made = life_cycle(documents, broker)
    stored = await register(made)
    with pytest.raises(BulkheadError) as caught:
        await change(made, stored, '"other"', credential="secret", credential_name="other")
    assert caught.value.kind is Kind.PRECONDITION_FAILED
    for field, changes in (
        ("/credential", {"credential": "federated"}),
        ("/credential_name", {"credential": "secret"}),
    ):
        with pytest.raises(BulkheadError) as caught:
            await change(made, stored, **changes)
        assert [one.pointer for one in caught.value.fields] == [field]
    assert documents.all("tenants") == [msgspec.to_builtins(stored.tenant)]


async def test_a_locked_tenant_is_not_opened_to_change_its_daemon(documents: Any, broker: FakeBroker) -> None:
    made = life_cycle(documents, broker)
    stored = await register(made)
    documents.damage("tenants", stored.tenant.id, {"status": "locked"})
    with pytest.raises(BulkheadError, match="tenant_locked"):
        await change(made, stored, "*", credential="secret", credential_name="other")
    assert len(broker.leases) == 1


GUID = "5c000000-0000-4000-8000-000000000001"
APPLICATION = f"/subscriptions/{GUID}/resourceGroups/apps/providers/Microsoft.Solutions/applications/hr"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("application_id", APPLICATION + "\n"),
        ("application_id", APPLICATION + "?api-version=1"),
        ("application_id", APPLICATION + "#x"),
        ("application_id", APPLICATION.replace("apps", "..")),
        ("application_id", APPLICATION.replace("apps", "a b")),
        ("application_id", APPLICATION.replace(GUID, "..")),
        ("application_id", APPLICATION + "/x"),
        ("application_id", "https://forger.example" + APPLICATION),
        ("vault", VAULT + "\n"),
        ("vault", "https://forger.example/.vault.azure.net"),
        ("vault", "https://bulkhead-kv.vault.azure.net.forger.example"),
        ("vault", "http://bulkhead-kv.vault.azure.net"),
        ("credential_name", "daemon/../other"),
        ("credential_name", "daemon\n"),
        ("credential_name", ""),
        ("daemon_client_id", "da000000-0000-4000-8000-000000000001\n"),
        ("daemon_client_id", "common"),
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(field: Any, value: Any) -> None:
    good = msgspec.to_builtins(WANTED) | {"application_id": APPLICATION, "vault": VAULT}
    msgspec.convert(good, Registration)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | {field: value}, Registration)


async def test_an_account_of_another_customer_is_never_opened(documents: Any, broker: FakeBroker) -> None:
    """The account that is opened is the one that Resource Manager named, whatever the registry holds besides."""
    named = Account(resource_id=CONTOSO_HR.account.resource_id + "0", endpoint=CONTOSO_HR.account.endpoint)
    await register(life_cycle(documents, broker, account=named))
    assert broker.leases[0][0].account == named
