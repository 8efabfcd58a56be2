"""The suites' way to Azure, tried on a stand-in that they know nothing of but what a file tells: names, credentials."""

import os
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.local.standin import authorization, publisher
from infra.local.standin.authorization import RoleAssignment
from infra.local.standin.resources import Grant
from tests.conformance.cloud import VARIABLE, OnAzure, Principal, StandInCloud, given

ROOT = Path(__file__).parents[2]
SUITES = [
    "tests/conformance/test_entra.py",
    "tests/conformance/test_key_vault.py",
    "tests/conformance/test_resource_manager.py",
    "tests/conformance/test_resource_manager_operations.py",
    "tests/conformance/cosmos",
]
pytestmark = pytest.mark.standin


def principal(cloud: StandInCloud) -> tuple[Principal, str]:
    """An application in the place of a managed identity, and its object id."""
    made = cloud.application()
    return Principal(client_id=made.client_id, client_secret=made.client_secret), made.object_id


def prepare(cloud: StandInCloud) -> OnAzure:
    """What docs/operations.md asks for, made as it says there."""
    (data, data_id), (control, control_id) = principal(cloud), principal(cloud)
    tenant, other = cloud.shared_tenant(), cloud.deploy()
    registry = cloud.registry()
    azure = cloud.azure

    def assign(principal_id: str, role_id: str, scope: str) -> None:
        azure.authorization.assign(RoleAssignment(str(uuid.uuid4()), scope, role_id, principal_id))

    def give_rights() -> None:
        assign(data_id, publisher.SECRET_READER.id, publisher.VAULT.resource_id)
        assign(control_id, authorization.KEY_VAULT_SECRETS_OFFICER, publisher.VAULT.resource_id)
        azure.accounts.add_contributor(registry.endpoint.removeprefix("https://").partition(".")[0], data_id)
        for one in (tenant, other):
            application = azure.resources.application(one.application_id)
            assert application is not None
            operator = Grant(control_id, authorization.COSMOS_DB_OPERATOR)
            azure.resources.add_application(
                replace(application, authorizations=[*application.authorizations, operator])
            )
            assign(control_id, operator.role_id, application.managed_resource_group_id)

    cloud.call(give_rights)
    return OnAzure(
        directory_id=cloud.publisher_directory_id,
        vault_url=cloud.vault_url,
        data=data,
        control=control,
        application=cloud.application(),
        tenant=tenant,
        other_tenant=other,
        cosmos=cloud.cosmos_account(),
        registry=registry,
    )


def test_suites_run_with_nothing_but_names_and_credentials(cloud: Any, tmp_path: Path) -> None:
    named = tmp_path / "azure.json"
    named.write_bytes(msgspec.json.encode(prepare(cloud)))
    cloud.set(regenerate_seconds=1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("IDENTITY_", "BULKHEAD_"))}
    done = subprocess.run(  # noqa: S603 - our own suites
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not standin", *SUITES],
        cwd=ROOT,
        env=environment | {VARIABLE: str(named)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    # What was asked reached the stand-in, and no principal was one of its own managed identities.
    entries, _ = cloud.journal()
    services = {entry["service"] for entry in entries}
    assert services == {"entra", "key_vault", "resource_manager", "cosmos"}
    cloud.set()


@pytest.mark.parametrize("fault", ['{"vault_url": "x"}', "{", '{"vault": "x"}'])
def test_a_file_that_names_too_little_is_no_way_to_azure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    (tmp_path / "azure.json").write_text(fault)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "azure.json"))
    with pytest.raises(msgspec.DecodeError):
        given()
