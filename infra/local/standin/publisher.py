"""The publisher's side that is there when the stand-in starts: the local twin of the publisher's Bicep (infra/azure).

Directory, applications, managed identities, the group of daemons, vault, registry account and queues.
"""

from typing import Any

from infra.local.standin.authorization import (
    APP_CONFIGURATION_DATA_READER,
    COSMOS_DB_OPERATOR,
    KEY_VAULT_SECRETS_OFFICER,
    RoleAssignment,
    RoleDefinition,
)
from infra.local.standin.azure import Azure
from infra.local.standin.directories import Identity
from infra.local.standin.resources import Grant, Subscription
from infra.local.standin.vaults import Vault

DIRECTORY_ID = "8c1e5a40-3f0b-4d27-9c55-b1a7e0d4c201"
SUBSCRIPTION_ID = "2f7d9b16-84c3-4e0a-a1d8-5c6b30e9f702"
API_CLIENT_ID = "a4d20c7e-51f9-4b68-8e03-7d92f1b6c803"
FRONT_END_CLIENT_ID = "d0b86f35-2a7c-4915-b4e1-9f3c58a2d704"
DAEMONS_GROUP_ID = "6e93c2d8-b70f-4a54-8d1b-20c7f5e8a905"

RESOURCE_GROUP_ID = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/bulkhead"


def _identity(name: str, client_id: str, principal_id: str) -> Identity:
    provider = f"{RESOURCE_GROUP_ID}/providers/Microsoft.ManagedIdentity"
    return Identity(name, DIRECTORY_ID, client_id, principal_id, f"{provider}/userAssignedIdentities/{name}")


DATA_IDENTITY = _identity(
    "bulkhead-data", "1b5f08e2-c6d4-47a9-93e0-f82d6a7c1b06", "47c0d9a3-1e82-4f6b-b5d7-03a9e6f8c107"
)
CONTROL_IDENTITY = _identity(
    "bulkhead-control", "e38a7c10-9d5b-4206-a7f4-6b1c92d0e508", "90f4b6d1-73a5-4c8e-8f20-d5e7a1c3b409"
)

VAULT = Vault("bulkhead-kv", DIRECTORY_ID, f"{RESOURCE_GROUP_ID}/providers/Microsoft.KeyVault/vaults/bulkhead-kv")

REGISTRY = "bulkhead-registry"
REGISTRY_ENDPOINT = f"https://{REGISTRY}.documents.azure.com:443/"
_REGISTRY_ID = f"{RESOURCE_GROUP_ID}/providers/Microsoft.DocumentDB/databaseAccounts/{REGISTRY}"
_UNIQUE_APPLICATION = {"uniqueKeys": [{"paths": ["/application_id"]}]}
_REGISTRY_CONTAINERS: tuple[tuple[str, str, dict[str, Any]], ...] = (  # id, path of the partition key, and more
    ("tenants", "/kind", {"uniqueKeyPolicy": _UNIQUE_APPLICATION}),
    ("anchors", "/tenant_id", {"defaultTtl": 400 * 86_400}),
    ("idempotency", "/id", {"defaultTtl": 86_400}),
)

# What the managed application's definition grants the publisher in every managed resource group. Being listed is what
# keeps a principal out of the group's deny assignment, so the daemons are listed with a role that allows nothing there.
AUTHORIZATIONS = (
    Grant(DAEMONS_GROUP_ID, APP_CONFIGURATION_DATA_READER),
    Grant(CONTROL_IDENTITY.principal_id, COSMOS_DB_OPERATOR),
)

# The data plane reads one secret by name and cannot list: narrower than the built-in Key Vault Secrets User.
SECRET_READER = RoleDefinition(
    "c5d17e64-08ba-4f93-9a2c-71e0b3d6f80a",
    "Bulkhead secret reader",
    DIRECTORY_ID,
    data_actions=("Microsoft.KeyVault/vaults/secrets/getSecret/action",),
    assignable_scopes=(RESOURCE_GROUP_ID,),
)

# A postponed job has a message id, so that one which is delivered twice is not postponed twice, and then four times.
# What operators pass by in a queue counts as delivered once more.
QUEUES: dict[str, dict[str, Any]] = {
    "check-requests": {},
    "check-requests-rejected": {"max_delivery_count": 1_000},
    "screenings": {"requires_session": True, "duplicate_detection_window": 600.0},
    "rotations": {},
    "tenant-events": {},
}


def establish(azure: Azure) -> None:
    """Put everything of the publisher in place; what is there already from an earlier start is left as it is."""
    directories, world = azure.directories, azure.world
    with world.storage.transaction():
        directories.create(DIRECTORY_ID, "Bulkhead")
        azure.resources.add_subscription(Subscription(SUBSCRIPTION_ID, DIRECTORY_ID, "Bulkhead production"))
        for client_id, name in ((API_CLIENT_ID, "Bulkhead API"), (FRONT_END_CLIENT_ID, "Bulkhead front end")):
            if directories.application(client_id) is None:
                directories.create_application(DIRECTORY_ID, name, client_id=client_id)
        for identity in (DATA_IDENTITY, CONTROL_IDENTITY):
            directories.create_identity(identity)
        directories.create_group(DAEMONS_GROUP_ID, DIRECTORY_ID)
        azure.vaults.create(VAULT)
        azure.authorization.define(SECRET_READER)
        for assignment_id, role_id, identity in (
            ("3a6e91f7-4c08-4db5-8e72-b9d0c5a1f60b", SECRET_READER.id, DATA_IDENTITY),
            ("f2b47d09-e51c-4a86-90d3-6c8f1e7a2b0c", KEY_VAULT_SECRETS_OFFICER, CONTROL_IDENTITY),
        ):
            azure.authorization.assign(RoleAssignment(assignment_id, VAULT.resource_id, role_id, identity.principal_id))
        if azure.accounts.get(REGISTRY) is None:
            _create_registry(azure)
        for container_id, path, more in _REGISTRY_CONTAINERS:  # also one that an earlier version did not need
            key = {"paths": [path], "kind": "Hash", "version": 2}
            azure.cosmos.create_container(REGISTRY, "bulkhead", {"id": container_id, "partitionKey": key} | more)


def _create_registry(azure: Azure) -> None:
    azure.accounts.create(REGISTRY, _REGISTRY_ID, DIRECTORY_ID, local_auth_disabled=True)
    azure.cosmos.create_database(REGISTRY, "bulkhead")
    for identity in (DATA_IDENTITY, CONTROL_IDENTITY):
        azure.accounts.add_contributor(REGISTRY, identity.principal_id)


def create_queues(azure: Azure) -> None:
    """The namespace's queues, at every start."""
    for name, settings in QUEUES.items():
        azure.service_bus.create_queue(name, **settings)
