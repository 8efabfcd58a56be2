"""The decision of Azure role-based access control as the stand-in makes it."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.standin import package
from infra.local.standin.authorization import (
    APP_CONFIGURATION_DATA_READER,
    COSMOS_DB_OPERATOR,
    DOCUMENTDB_ACCOUNT_CONTRIBUTOR,
    READER,
    Authorization,
    DenyAssignment,
    RoleAssignment,
    RoleDefinition,
)
from infra.local.standin.certificates import names_host
from infra.local.standin.storage import Storage
from infra.local.standin.wire import World

GROUP = "/subscriptions/s/resourceGroups/g"
ACCOUNT = f"{GROUP}/providers/Microsoft.DocumentDB/databaseAccounts/a"
COSMOS = "Microsoft.DocumentDB/databaseAccounts"


@pytest.fixture
def world() -> Iterator[World]:
    storage = Storage()
    yield World(storage)
    storage.close()


@pytest.fixture
def authorization(world: World) -> Authorization:
    return Authorization(world)


def assign(authorization: Authorization, role_id: str, scope: str, principal_id: str = "me") -> RoleAssignment:
    assignment = RoleAssignment(str(uuid.uuid4()), scope, role_id, principal_id)
    authorization.assign(assignment)
    return assignment


# What the threat model says of the roles that could be given to somebody in a managed resource group.
@pytest.mark.parametrize(
    ("role_id", "allowed"),
    [
        (APP_CONFIGURATION_DATA_READER, set()),
        (COSMOS_DB_OPERATOR, {"read", "write"}),
        (READER, {"read", "readonlykeys/read"}),
        (
            DOCUMENTDB_ACCOUNT_CONTRIBUTOR,
            {"read", "write", "readonlykeys/read", "readonlykeys/action", "listKeys/action", "regenerateKey/action"},
        ),
    ],
)
def test_what_each_role_discloses(authorization: Authorization, role_id: str, allowed: set[str]) -> None:
    assign(authorization, role_id, GROUP)
    actions = ("read", "write", "readonlykeys/read", "readonlykeys/action", "listKeys/action", "regenerateKey/action")
    got = {one for one in actions if authorization.decide({"me"}, f"{COSMOS}/{one}", ACCOUNT) == "allowed"}
    assert got == allowed


@pytest.mark.parametrize(
    ("scope", "reached"),
    [
        (ACCOUNT, True),
        (ACCOUNT.upper(), True),
        (GROUP, True),
        ("/subscriptions/s", True),
        (ACCOUNT + "2", False),
        (ACCOUNT[:-1], False),
        ("/subscriptions/s/resourceGroups/gg", False),
        ("/subscriptions/t", False),
    ],
)
def test_scopes_are_whole_segments(authorization: Authorization, scope: str, *, reached: bool) -> None:
    assign(authorization, READER, scope)
    assert (authorization.decide({"me"}, f"{COSMOS}/read", ACCOUNT) == "allowed") is reached


def test_role_of_a_group_and_of_nobody(authorization: Authorization) -> None:
    assign(authorization, READER, GROUP, "group")
    assert authorization.decide({"me", "group"}, f"{COSMOS}/read", ACCOUNT) == "allowed"
    assert authorization.decide({"me"}, f"{COSMOS}/read", ACCOUNT) == "no_role"
    assert authorization.decide(set(), f"{COSMOS}/read", ACCOUNT) == "no_role"


def test_data_actions_and_actions_are_apart(authorization: Authorization) -> None:
    authorization.define(RoleDefinition("r", "r", actions=("*",)))
    authorization.define(RoleDefinition("d", "d", data_actions=("Microsoft.KeyVault/vaults/secrets/*",)))
    assign(authorization, "r", GROUP, "actions")
    assign(authorization, "d", GROUP, "data")
    action = "Microsoft.KeyVault/vaults/secrets/getSecret/action"
    assert authorization.decide({"actions"}, action, GROUP, data=True) == "no_role"
    assert authorization.decide({"data"}, action, GROUP) == "no_role"
    assert authorization.decide({"data"}, action, GROUP, data=True) == "allowed"


def test_deny_assignment_spares_only_the_excluded(authorization: Authorization) -> None:
    assign(authorization, DOCUMENTDB_ACCOUNT_CONTRIBUTOR, ACCOUNT)
    denial = DenyAssignment("d", GROUP, "deny", ("*",), ("*/read",), ("excluded",))
    authorization.deny(denial)
    assert authorization.decide({"me"}, f"{COSMOS}/listKeys/action", ACCOUNT) == denial
    assert authorization.decide({"me"}, f"{COSMOS}/read", ACCOUNT) == "allowed"
    assert authorization.decide({"me", "excluded"}, f"{COSMOS}/listKeys/action", ACCOUNT) == "allowed"
    # Being excluded is no right.
    assert authorization.decide({"excluded"}, f"{COSMOS}/listKeys/action", ACCOUNT) == "no_role"


def test_state_is_read_back_and_removed_by_scope(world: World, authorization: Authorization) -> None:
    authorization.define(RoleDefinition("r", "r", "dir", actions=("*/read",), assignable_scopes=(GROUP,)))
    inside, outside = assign(authorization, "r", ACCOUNT), assign(authorization, READER, "/subscriptions/s")
    denial = DenyAssignment("d", GROUP, "deny", ["*"], [], [])
    authorization.deny(denial)
    again = Authorization(world)
    assert again.assignment(inside.id) == inside
    assert again.decide({"me"}, f"{COSMOS}/read", ACCOUNT) == denial
    again.remove_scope(GROUP)
    for one in (again, Authorization(world)):
        assert one.assignment(inside.id) is None
        assert one.assignment(outside.id) == outside
        assert one.role("r", "dir") is None
        assert one.decide({"me"}, f"{COSMOS}/read", ACCOUNT) == "allowed"


def test_custom_role_belongs_to_its_directory(authorization: Authorization) -> None:
    authorization.define(RoleDefinition("r", "r", "dir"))
    assert authorization.role("r", "dir") is not None
    assert authorization.role("r", "other") is None
    assert authorization.role(READER, "other") is not None


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("login.microsoftonline.com", True),
        ("a.vault.azure.net", True),
        ("a-westeurope.documents.azure.com", True),
        ("vault.azure.net", False),
        ("a.b.vault.azure.net", False),
        ("login.microsoftonline.com.example", False),
        ("example.com", False),
    ],
)
def test_hosts_that_are_played(host: str, *, covered: bool) -> None:
    assert names_host(host) is covered


def test_package_is_read_from_the_template(tmp_path: Path) -> None:
    read = package.load()
    assert read.databases == ["bulkhead"]
    assert {database for database, _ in read.containers} == {"bulkhead"}
    assert "access_log" in {definition["id"] for _, definition in read.containers}
    # The daemon's role names its actions one by one: a wildcard could come to mean more.
    assert not [action for action in read.role_actions if "*" in action]
    template = tmp_path / "mainTemplate.json"
    template.write_text('{"resources": [{"type": "Microsoft.Storage/storageAccounts"}]}')
    with pytest.raises(ValueError, match="does not deploy one account"):
        package.load(template)
