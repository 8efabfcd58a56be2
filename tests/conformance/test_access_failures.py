"""Every row of REACTIONS at the wire: the real broker and adapters, Azure failing as it does, and what callers get."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from infra.local.standin.authorization import RoleAssignment
from shared.access.failures import REACTIONS, Failure
from shared.access.models import CredentialKind
from shared.core.errors import BulkheadError, Kind
from shared.core.lease import LeaseLimits
from shared.tenants.models import Tenant
from tests.conformance.chain import SERVICES, Chain, Journal, assert_nothing_leaks, chain, logged

__all__ = ["logged"]  # the fixture

pytestmark = pytest.mark.standin

type Break = Callable[["Scene"], AbstractContextManager[None]]

_OPERATIONS = {"key_vault": "get_secret", "entra": "issue_token", "resource_manager": "list_keys"}


@dataclass
class Scene:
    """A tenant whose access fails, and the process that is told so."""

    cloud: Any
    chain: Chain
    deployed: Any
    tenant: Tenant

    def target(self, service: str) -> str:
        """What of the tenant's a fault at `service` strikes."""
        names = {
            "key_vault": self.tenant.daemon.credential.name,
            "entra": self.tenant.daemon.client_id,
            "resource_manager": self.deployed.cosmos_account,
            "cosmos": f"{self.deployed.cosmos_account}/dbs/bulkhead/colls/access_log",
        }
        return names[service]


@dataclass(frozen=True)
class Row:
    """One way to fail: at which step, and how often Key Vault, Entra and Resource Manager are asked until then."""

    name: str
    step: int
    asked: tuple[int, int, int]
    broken: Break
    retry_after: float | None = None  # what Azure says; without it the table's number is told
    credential: CredentialKind = "secret"


def fault(service: str, **rule: Any) -> Break:
    """The service answers so, to this tenant alone."""

    @contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        operation = _OPERATIONS.get(service, "batch")
        rule_ = {"service": service, "operation": operation, "target": scene.target(service)} | rule
        scene.cloud.control("PUT", "/faults", {"rules": [rule_]})
        yield
        scene.cloud.control("DELETE", "/faults")

    return broken


@contextmanager
def secret_removed_from_entra(scene: Scene) -> Iterator[None]:
    """And the vault not told of another one."""
    scene.cloud.call(lambda: scene.cloud.azure.directories.remove_credentials(scene.deployed.client_id, keep="none"))
    yield
    kind = scene.tenant.daemon.credential.kind
    scene.cloud.control("POST", f"/daemons/{scene.deployed.name}/rotate", {"credential": kind})


@contextmanager
def role_taken_away(scene: Scene) -> Iterator[None]:
    authorization = scene.cloud.azure.authorization
    daemon = next(
        one for one in authorization._assignments.within(scene.deployed.account_id)
        if one.principal_id == scene.deployed.object_id
    )  # fmt: skip
    scene.cloud.call(lambda: authorization.unassign(daemon.id))
    yield
    again = RoleAssignment(str(uuid.uuid4()), daemon.scope, daemon.role_id, daemon.principal_id)
    scene.cloud.call(lambda: authorization.assign(again))


@contextmanager
def secret_deleted_from_the_vault(scene: Scene) -> Iterator[None]:
    vaults = scene.cloud.azure.vaults
    secret = vaults.secret(vaults.get("bulkhead-kv"), scene.deployed.credential_name)
    scene.cloud.call(lambda: setattr(secret, "deleted", 1))
    yield
    scene.cloud.call(lambda: setattr(secret, "deleted", None))


@contextmanager
def application_removed(scene: Scene) -> Iterator[None]:
    applications, client_id = scene.cloud.azure.directories._applications, scene.deployed.client_id
    removed = scene.cloud.call(lambda: applications.remove(client_id))
    yield
    scene.cloud.call(lambda: applications.put(client_id, removed))


@contextmanager
def account_removed(scene: Scene) -> Iterator[None]:
    accounts, name = scene.cloud.azure.accounts._by_resource_id, scene.deployed.account_id.lower()
    removed = scene.cloud.call(lambda: accounts.pop(name))
    yield
    scene.cloud.call(lambda: accounts.update({name: removed}))


def newest_version(**changes: Any) -> Break:
    """The newest version of the secret in the vault is something else."""

    @contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        vaults = scene.cloud.azure.vaults
        version = vaults.secret(vaults.get("bulkhead-kv"), scene.deployed.credential_name).versions[-1]
        for name, value in changes.items():
            scene.cloud.call(lambda name=name, value=value: setattr(version, name, value))
        yield
        scene.cloud.control("POST", f"/daemons/{scene.deployed.name}/rotate", {"credential": "secret"})

    return broken


@contextmanager
def budget_of_azure_used_up(scene: Scene) -> Iterator[None]:
    """By somebody else: the account's owner, say."""
    scene.cloud.control("PUT", "/settings", {"list_keys_budget": 1})
    account = scene.cloud.azure.accounts.get(scene.deployed.cosmos_account)
    readings = scene.cloud.azure.account_operations._readings
    scene.cloud.call(lambda: readings.spend(account.name, 1, scene.cloud.stand_in.world.now()))
    yield
    scene.cloud.control("PUT", "/settings", {})


@contextmanager
def locked_by_the_customer(scene: Scene) -> Iterator[None]:
    """Read-only, so that nothing may be posted."""
    scene.cloud.control("PUT", f"/tenants/{scene.deployed.name}/lock", {"level": "ReadOnly"})
    yield
    scene.cloud.control("PUT", f"/tenants/{scene.deployed.name}/lock", {"level": None})


def at_each_step(failure: str, attempts: int, **rule: Any) -> list[Row]:
    """The same answer at each of the three services."""
    rows = []
    for step, service in enumerate(SERVICES, 1):
        asked = tuple(attempts if number <= step else 0 for number in (1, 2, 3))
        rows.append(Row(f"{failure} at {service}", step, asked, fault(service, **rule), rule.get("retry_after")))
    return rows


ROWS: dict[Failure, list[Row]] = {
    Failure.CREDENTIAL_REJECTED: [
        Row("secret removed", 2, (4, 4, 0), secret_removed_from_entra),
        Row("federation removed", 2, (0, 4, 0), secret_removed_from_entra, credential="federated"),
    ],
    Failure.DENIED: [
        Row("role taken away", 3, (1, 1, 1), role_taken_away),
        *at_each_step("403", 1, status=403)[:1],
    ],
    Failure.NOT_FOUND: [
        Row("secret deleted", 1, (1, 0, 0), secret_deleted_from_the_vault),
        Row("application removed", 2, (1, 1, 0), application_removed),
        Row("account removed", 3, (1, 1, 1), account_removed),
    ],
    Failure.THROTTLED: [
        *at_each_step("429, for long", 1, retry_after=17),
        at_each_step("429, for short", 2, retry_after=0.1)[2],
        at_each_step("503, too busy", 2, status=503)[1],
        Row("budget of Azure", 3, (1, 1, 1), budget_of_azure_used_up, retry_after=300),
    ],
    Failure.TRANSIENT: [
        at_each_step("503", 3, status=503)[0],
        at_each_step("dropped", 3, drop="request")[1],
        at_each_step("503", 3, status=503)[2],
    ],
    Failure.MISCONFIGURED: [
        *at_each_step("400", 1, status=400),
        *at_each_step("501", 1, status=501),
        Row("resource lock", 3, (1, 1, 1), locked_by_the_customer),
        Row("a secret that is something else", 1, (1, 0, 0), newest_version(content_type="application/json")),
        Row("no certificate", 2, (1, 0, 0), newest_version(content_type="application/x-pem-file", value="-----")),
    ],
    Failure.KEYS_REFUSED: [Row("no key works", 5, (3, 3, 3), fault("cosmos", status=401))],
    Failure.UNANSWERED: [],  # test_answer_that_does_not_come_in_time_is_no_hang
    Failure.OVER_BUDGET: [],  # test_our_own_share_is_used_up
}


def _ways() -> list[Any]:
    """Raises KeyError for a row of REACTIONS that nothing is known of here."""
    return [pytest.param(failure, row, id=f"{failure}: {row.name}") for failure in REACTIONS for row in ROWS[failure]]


@pytest.mark.parametrize(("service", "step"), [("key_vault", 3), ("resource_manager", 3), ("cosmos", 5)])
async def test_answer_that_does_not_come_in_time_is_no_hang(
    cloud: Any, logged: pytest.LogCaptureFixture, service: str, step: int
) -> None:
    reaction = REACTIONS[Failure.UNANSWERED]
    limits = LeaseLimits(max_age=60, keep_key=120, keep_token=300, patience=2)
    deployed = cloud.deploy()
    async with chain(cloud, limits=limits) as process:
        tenant, other = await process.register(deployed), await process.register(cloud.deploy())
        with fault(service, delay_ms=4000)(Scene(cloud, process, deployed, tenant)):
            error = await refused(process, tenant)
            assert (error.kind, error.code) == (Kind.UNAVAILABLE, reaction.code)
            assert error.retry_after == reaction.retry_after
            assert f"step {step} of 5" in error.detail
            assert_nothing_leaks(cloud, error, logged)
            await process.invoke(other)  # a breaker is one tenant's alone
        assert (await refused(process, tenant)).code == reaction.code  # from memory: Azure would answer by now
        process.clock.pass_by(reaction.remembered)
        await process.invoke(tenant)
        assert '"failure": "unanswered"' in logged.text


@pytest.mark.parametrize(("failure", "row"), _ways())
async def test_row(cloud: Any, logged: pytest.LogCaptureFixture, failure: Failure, row: Row) -> None:
    reaction = REACTIONS[failure]
    deployed = cloud.deploy()
    if row.credential == "federated":
        cloud.control("POST", f"/daemons/{deployed.name}/rotate", {"credential": "federated"})
    async with chain(cloud) as process:
        tenant = await process.register(deployed, row.credential)
        other = await process.register(cloud.deploy())
        journal = Journal(cloud, deployed, tenant)
        with row.broken(Scene(cloud, process, deployed, tenant)):
            error = await refused(process, tenant)

            assert (error.kind, error.code) == (Kind.UNAVAILABLE, reaction.code)
            assert error.retry_after == (row.retry_after or reaction.retry_after)
            assert f"step {row.step} of 5" in error.detail
            assert journal.steps() == row.asked
            assert_nothing_leaks(cloud, error, logged)

            await process.invoke(other)  # a breaker is one tenant's alone

            journal.mark()
            if reaction.remembered:
                again, remembered = await refused(process, tenant), max(reaction.remembered, row.retry_after or 0)
                assert again.code == reaction.code
                assert again.retry_after is not None
                assert 0 < again.retry_after <= remembered
                assert journal.entries() == []
                process.clock.pass_by(remembered)
        await process.invoke(tenant)
        assert journal.steps()[1:] == (1, 1)
        assert f'"failure": "{failure}"' in logged.text


def test_every_row_is_tried() -> None:
    assert [failure for failure in REACTIONS if not ROWS[failure]] == [Failure.UNANSWERED, Failure.OVER_BUDGET]


async def test_our_own_share_is_used_up(cloud: Any, logged: pytest.LogCaptureFixture) -> None:
    """The key is kept as long as it may be; after that, who comes is told when a listing can be afforded."""
    deployed, reaction = cloud.deploy(), REACTIONS[Failure.OVER_BUDGET]
    async with chain(cloud, instances=450) as process:  # one listing in 5 minutes
        tenant = await process.register(deployed)
        journal = Journal(cloud, deployed, tenant)
        for _ in range(3):
            await process.invoke(tenant)
        assert journal.steps() == (1, 1, 1)
        process.clock.pass_by(130)

        error = await refused(process, tenant)

        assert (error.kind, error.code) == (Kind.UNAVAILABLE, reaction.code)
        assert error.retry_after is not None
        assert error.retry_after > 130
        assert journal.steps() == (1, 1, 1)
        assert_nothing_leaks(cloud, error, logged)
        process.clock.pass_by(650)
        await process.invoke(tenant)
        assert journal.steps() == (2, 2, 2)


@pytest.mark.parametrize("kind", ["secret", "certificate"])
async def test_credential_rotated_since_it_was_read(
    cloud: Any, logged: pytest.LogCaptureFixture, kind: CredentialKind
) -> None:
    deployed = cloud.deploy()
    async with chain(cloud) as process:
        tenant = await process.register(deployed)
        journal = Journal(cloud, deployed, tenant)
        slow = fault("entra", delay_ms=250, times=1)
        with slow(Scene(cloud, process, deployed, tenant)):
            invocation = asyncio.create_task(process.invoke(tenant))
            while journal.steps()[0] == 0:  # noqa: ASYNC110 - the journal tells only when asked
                await asyncio.sleep(0.01)
            cloud.control("POST", f"/daemons/{deployed.name}/rotate", {"credential": kind})
            await invocation
        assert journal.steps() == (2, 2, 1)
        assert [one["status"] for one in journal.entries() if one["service"] == "entra"] == [401, 200]
        assert_nothing_leaks(cloud, None, logged)


async def test_new_credential_that_is_not_known_everywhere_yet(cloud: Any) -> None:
    deployed = cloud.deploy()
    async with chain(cloud) as process:
        tenant = await process.register(deployed)
        cloud.control("PUT", "/settings", {"credential_delay_seconds": 0.5})
        cloud.control("POST", f"/daemons/{deployed.name}/rotate", {"credential": "secret"})
        journal = Journal(cloud, deployed, tenant)
        await process.invoke(tenant)
        cloud.control("PUT", "/settings", {})
        # A fresh credential object each time: one that is kept would not ask again (MSAL caches a refusal).
        statuses = [one["status"] for one in journal.entries() if one["service"] == "entra"]
        assert (set(statuses[:-1]), statuses[-1]) == ({401}, 200)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("drop", ["request", "answer"])
async def test_one_interruption_is_not_noticed(cloud: Any, service: str, drop: str) -> None:
    deployed = cloud.deploy()
    async with chain(cloud) as process:
        tenant = await process.register(deployed)
        journal = Journal(cloud, deployed, tenant)
        with fault(service, drop=drop, times=1)(Scene(cloud, process, deployed, tenant)):
            await process.invoke(tenant)
        assert journal.steps()[SERVICES.index(service)] == 2


@pytest.mark.parametrize(("wait", "reads"), [(0.05, 3), (30, 1)])
async def test_busy_account_is_waited_for_if_it_says_for_a_moment(cloud: Any, wait: float, reads: int) -> None:
    deployed = cloud.deploy()
    async with chain(cloud) as process:
        tenant = await process.register(deployed)
        journal = Journal(cloud, deployed, tenant)
        busy = fault("cosmos", operation="read_item", target=deployed.cosmos_account, retry_after=wait)
        with busy(Scene(cloud, process, deployed, tenant)):
            error = await refused(process, tenant)
        assert (error.kind, error.code, error.retry_after) == (Kind.THROTTLED, "account_throttled", max(1, wait))
        assert [one["status"] for one in journal.entries() if one["operation"] == "read_item"] == [429] * reads
        await process.invoke(tenant)


@pytest.mark.parametrize("writes", [False, True])
async def test_key_regenerated_while_it_is_held(cloud: Any, *, writes: bool) -> None:
    deployed = cloud.deploy()
    async with chain(cloud) as process:
        tenant = await process.register(deployed)
        async with process.open(tenant, writes=writes) as documents:
            assert await documents.read("candidates", "cand_1", "cand_1") is None
            journal = Journal(cloud, deployed, tenant)
            for kind in ("primary", "primaryReadonly"):
                cloud.control("POST", f"/cosmos/{deployed.cosmos_account}/regenerate", {"key_kind": kind})
            assert await documents.read("candidates", "cand_1", "cand_1") is None
        used = [(one["principal"], one["status"]) for one in journal.entries() if one["operation"] == "read_item"]
        kind = "primary" if writes else "primaryReadonly"
        assert used[-1] == (f"key:{kind}", 404)
        assert used[0][1] == 401
        assert journal.steps() == (1, 1, 1)


async def test_other_key_when_the_one_is_refused_though_listed_again(cloud: Any) -> None:
    """Resource Manager may list a key for a while that the account takes no more."""
    deployed = cloud.deploy()
    async with chain(cloud) as process:
        tenant = await process.register(deployed)
        async with process.open(tenant) as documents:
            journal = Journal(cloud, deployed, tenant)
            rule = {"service": "cosmos", "operation": "read_item", "target": deployed.cosmos_account, "status": 401}
            cloud.control("PUT", "/faults", {"rules": [rule | {"times": 1}]})
            assert await documents.read("candidates", "cand_1", "cand_1") is None
            used = [(one["principal"], one["status"]) for one in journal.entries() if one["operation"] == "read_item"]
            assert used[-1] == ("key:secondaryReadonly", 404)
            assert journal.steps() == (1, 1, 1)
            cloud.control("PUT", "/faults", {"rules": [rule]})
            with pytest.raises(BulkheadError) as caught:
                await documents.read("candidates", "cand_1", "cand_1")
            assert caught.value.kind is Kind.UNAVAILABLE
            cloud.control("DELETE", "/faults")


async def test_locked_tenant_is_not_opened(cloud: Any) -> None:
    deployed = cloud.deploy()
    async with chain(cloud) as process:
        tenant = await process.register(deployed)
        stored = await process.registry.read(tenant.id)
        await process.registry.replace(locked(tenant), stored.etag)
        journal = Journal(cloud, deployed, tenant)
        with pytest.raises(BulkheadError) as caught:
            await process.invoke(await process.registry.get(tenant.id))
        assert (caught.value.kind, caught.value.code) == (Kind.FORBIDDEN, "tenant_locked")
        assert journal.entries() == []


def test_search_for_leaks_finds_what_is_there(cloud: Any, logged: pytest.LogCaptureFixture) -> None:
    secret = cloud.azure.accounts.get(cloud.deploy().cosmos_account).keys["primary"]
    hidden = BulkheadError(Kind.UNAVAILABLE, "code", "detail")
    hidden.__context__ = ValueError(secret)
    with pytest.raises(AssertionError):
        assert_nothing_leaks(cloud, hidden, logged)


async def refused(process: Chain, tenant: Tenant) -> BulkheadError:
    with pytest.raises(BulkheadError) as caught:
        await process.invoke(tenant)
    return caught.value


def locked(tenant: Tenant) -> Tenant:
    return msgspec.structs.replace(tenant, status="locked")
