import re
from pathlib import Path
from typing import Any

import pytest

from shared.core import policy
from shared.core.caller import MessageCaller, ServiceCaller, TokenCaller
from shared.core.errors import BulkheadError, Kind
from shared.core.policy import Action
from tests.fakes import CONTOSO, FRONT_END, PUBLISHER

TENANT_ROLES = ["Reports.Read", "Reports.ReadWrite", "Candidates.ReadWrite", "Adjudications.ReadWrite", "Tenant.Admin"]
PUBLISHER_ROLES = ["Publisher.Read", "Publisher.Operate"]

# Written down here a second time, so that a change of the table is a decision and no accident.
ALLOWED = {
    "candidates.read": {"Candidates.ReadWrite", "Tenant.Admin"},
    "candidates.write": {"Candidates.ReadWrite", "Tenant.Admin"},
    "authorizations.write": {"Candidates.ReadWrite", "Tenant.Admin"},
    "packages.read": {"Reports.Read", "Reports.ReadWrite", "Tenant.Admin"},
    "packages.write": {"Tenant.Admin"},
    "reports.read": {"Reports.Read", "Reports.ReadWrite", "Adjudications.ReadWrite", "Tenant.Admin"},
    "reports.write": {"Reports.ReadWrite", "Tenant.Admin"},
    "screenings.review": {"Adjudications.ReadWrite", "Tenant.Admin"},
    "access_log.read": {"Tenant.Admin"},
    "tenant.read": {"Tenant.Admin"},
    "tenant.write": {"Tenant.Admin"},
    "tenants.read": {"Publisher.Read", "Publisher.Operate"},
    "tenants.write": {"Publisher.Operate"},
}
OF_PUBLISHER = {"tenants.read", "tenants.write"}


def caller(*roles: Any, directory: Any = CONTOSO) -> Any:
    return TokenCaller(directory, "oid", FRONT_END, frozenset(roles))


def allows(check: Any, *arguments: Any) -> Any:
    try:
        check(*arguments)
    except BulkheadError as error:
        return error.kind is not Kind.FORBIDDEN
    return True


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("role", TENANT_ROLES + PUBLISHER_ROLES)
def test_each_role_allows_exactly_its_actions(role: str, action: Action) -> None:
    as_tenant = allows(policy.require_tenant_role, caller(role), action)
    as_publisher = allows(policy.require_publisher_role, caller(role, directory=PUBLISHER), action, PUBLISHER)
    assert as_tenant == (action not in OF_PUBLISHER and role in ALLOWED[action])
    assert as_publisher == (action in OF_PUBLISHER and role in ALLOWED[action])


def test_the_table_of_this_test_is_complete() -> None:
    assert set(ALLOWED) == set(Action)
    assert [*dict.fromkeys(TENANT_ROLES + PUBLISHER_ROLES)] == TENANT_ROLES + PUBLISHER_ROLES
    assert set().union(*ALLOWED.values()) == set(TENANT_ROLES + PUBLISHER_ROLES)


@pytest.mark.parametrize("action", Action)
def test_no_role_no_action(action: Action) -> None:
    assert not allows(policy.require_tenant_role, caller(), action)
    assert not allows(policy.require_publisher_role, caller(directory=PUBLISHER), action, PUBLISHER)


@pytest.mark.parametrize("role", ["", "tenant.admin", "Tenant.Admin ", "Tenant.*", "*", "Reports", "Owner"])
def test_unknown_roles_allow_nothing(role: str) -> None:
    assert not any(allows(policy.require_tenant_role, caller(role), action) for action in Action)


def test_an_unknown_action_is_allowed_to_nobody() -> None:
    everything = caller(*TENANT_ROLES, *PUBLISHER_ROLES, directory=PUBLISHER)
    assert not allows(policy.require_tenant_role, everything, "made.up")
    assert not allows(policy.require_publisher_role, everything, "made.up", PUBLISHER)


@pytest.mark.parametrize("action", sorted(OF_PUBLISHER))
def test_a_publisher_role_in_a_customers_directory_is_worth_nothing(action: Action) -> None:
    impostor = caller(*TENANT_ROLES, *PUBLISHER_ROLES)
    assert not allows(policy.require_publisher_role, impostor, Action(action), PUBLISHER)


def test_only_allowed_client_applications_may_call() -> None:
    assert allows(policy.require_client, caller(), frozenset({FRONT_END}))
    assert not allows(policy.require_client, caller(), frozenset())
    assert not allows(policy.require_client, caller(), frozenset({"another"}))


def test_access_records_name_callers_without_persons() -> None:
    assert caller().actor == "user:oid"
    assert MessageCaller(CONTOSO, "key-1").actor == "message:key-1"
    assert ServiceCaller("run_screening").actor == "service:run_screening"


def test_every_tenant_route_declares_an_action_of_the_table() -> None:
    sources = (Path(policy.__file__).parents[1] / "entrypoints").glob("http_*.py")
    used = {name for source in sources for name in re.findall(r"Action\.([A-Z_]+)", source.read_text())}
    assert {Action[name] for name in used} == set(Action)
