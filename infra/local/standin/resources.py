"""Resource Manager's own objects: subscriptions, resource groups, managed applications. State only."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from infra.local.standin.authorization import covers
from infra.local.standin.wire import World

LOCATION = "westeurope"


@dataclass(slots=True, frozen=True)
class Subscription:
    """A subscription belongs to one directory."""

    id: str  # GUID
    directory_id: str
    name: str


@dataclass(slots=True, frozen=True)
class ResourceGroup:
    """A resource group; `managed_by` is the managed application of a managed one."""

    id: str
    managed_by: str | None = None


@dataclass(slots=True, frozen=True)
class Grant:
    """One entry of a managed application definition's `authorizations`: a role for a publisher's principal."""

    principal_id: str
    role_id: str  # GUID of a built-in role


@dataclass(slots=True, frozen=True)
class ManagedApplication:
    """A customer's deployment of the publisher's managed application."""

    id: str
    managed_resource_group_id: str
    publisher_directory_id: str
    authorizations: Sequence[Grant]
    outputs: dict[str, str]
    created: str  # RFC 3339


class Resources:
    """Subscriptions, resource groups and managed applications, written through to storage. Ids ignore case."""

    def __init__(self, world: World) -> None:
        self._storage = world.storage
        load = world.storage.load
        self._subscriptions = {key: Subscription(**json.loads(text)) for key, text in load("resources/subscriptions")}
        self._groups = {key: ResourceGroup(**json.loads(text)) for key, text in load("resources/groups")}
        self._applications = {key: _application(text) for key, text in load("resources/applications")}

    def add_subscription(self, subscription: Subscription) -> None:
        """Add or replace a subscription."""
        self._subscriptions[subscription.id.lower()] = subscription
        self._put("subscriptions", subscription.id, subscription)

    def subscription(self, subscription_id: str) -> Subscription | None:
        """The subscription of this GUID."""
        return self._subscriptions.get(subscription_id.lower())

    def add_group(self, group: ResourceGroup) -> None:
        """Add or replace a resource group."""
        self._groups[group.id.lower()] = group
        self._put("groups", group.id, group)

    def group(self, group_id: str) -> ResourceGroup | None:
        """The resource group of this resource id."""
        return self._groups.get(group_id.lower())

    def add_application(self, application: ManagedApplication) -> None:
        """Add or replace a managed application."""
        self._applications[application.id.lower()] = application
        self._put("applications", application.id, application)

    def application(self, application_id: str) -> ManagedApplication | None:
        """The managed application of this resource id."""
        return self._applications.get(application_id.lower())

    def publishers_of(self, subscription_id: str) -> set[str]:
        """Directories that reach into a subscription as publishers of managed applications deployed there."""
        scope = f"/subscriptions/{subscription_id}"
        return {one.publisher_directory_id for one in self._applications.values() if covers(scope, one.id)}

    def granted(self, application_id: str) -> set[str]:
        """Object ids of the principals in a managed application's authorizations; none when it is not there."""
        application = self.application(application_id)
        return {grant.principal_id for grant in application.authorizations} if application else set()

    def remove(self, scope: str) -> None:
        """Remove every subscription, group and application at or below `scope`."""
        for kind, objects in (
            ("subscriptions", self._subscriptions),
            ("groups", self._groups),
            ("applications", self._applications),
        ):
            prefix = "/subscriptions/" if kind == "subscriptions" else ""
            for key in [key for key in objects if covers(scope, prefix + key)]:
                del objects[key]
                self._storage.delete(f"resources/{kind}", key)

    def _put(self, kind: str, key: str, value: Subscription | ResourceGroup | ManagedApplication) -> None:
        self._storage.put(f"resources/{kind}", key.lower(), json.dumps(asdict(value)))


def _application(text: str) -> ManagedApplication:
    stored = json.loads(text)
    stored["authorizations"] = [Grant(**grant) for grant in stored["authorizations"]]
    return ManagedApplication(**stored)
