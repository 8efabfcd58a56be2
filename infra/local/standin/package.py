"""What the managed application's package (infra/managed_app/mainTemplate.json) deploys, read from the template."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[2] / "managed_app" / "mainTemplate.json"


@dataclass(slots=True, frozen=True)
class Package:
    """The parts of the template that the stand-in deploys."""

    account: dict[str, Any]  # properties of the Cosmos DB account
    databases: Sequence[str]
    containers: Sequence[tuple[str, dict[str, Any]]]  # (database, definition)
    role_actions: Sequence[str]  # of the custom role for the tenant's daemon


def load(template: Path = TEMPLATE) -> Package:
    """Read the template. Raises ValueError for a resource that the stand-in cannot deploy."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for resource in json.loads(template.read_text())["resources"]:
        kinds.setdefault(resource["type"], []).append(resource)
    try:
        (account,) = kinds.pop("Microsoft.DocumentDB/databaseAccounts")
        (role,) = kinds.pop("Microsoft.Authorization/roleDefinitions")
        databases = kinds.pop("Microsoft.DocumentDB/databaseAccounts/sqlDatabases")
        containers = kinds.pop("Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers")
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{template.name} does not deploy one account with a role, a database and containers"
        ) from error
    if kinds:
        raise ValueError(f"The stand-in cannot deploy {', '.join(kinds)} of {template.name}.")
    return Package(
        account["properties"],
        [database["properties"]["resource"]["id"] for database in databases],
        # Names are as "[concat(variables('account'), '/database/container')]".
        [(container["name"].split("/")[1], container["properties"]["resource"]) for container in containers],
        role["properties"]["permissions"][0]["actions"],
    )
