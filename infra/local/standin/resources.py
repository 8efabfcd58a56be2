"""Resource Manager's own objects: subscriptions, managed applications. State only."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.local.standin.storage import Table
from infra.local.standin.wire import World

LOCATION = "westeurope"


@dataclass(slots=True, frozen=True)
class Subscription:
    """A subscription belongs to one directory."""

    id: str  # GUID
    directory_id: str
    name: str


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
    """Subscriptions and managed applications. Ids ignore case."""

    def __init__(self, world: World) -> None:
        self._subscriptions = Table(world.storage, "resources/subscriptions", Subscription)
        self._applications = Table(world.storage, "resources/applications", ManagedApplication)
        self._publishers: dict[str, str] = {}  # subscription -> directory of the publisher of an application there
        for application in self._applications:
            self._note_publisher(application)

    def add_subscription(self, subscription: Subscription) -> None:
        """Add or replace a subscription."""
        self._subscriptions.put(subscription.id.lower(), subscription)

    def subscription(self, subscription_id: str) -> Subscription | None:
        """The subscription of this GUID."""
        return self._subscriptions.get(subscription_id.lower())

    def add_application(self, application: ManagedApplication) -> None:
        """Add or replace a managed application; a subscription has at most one."""
        self._applications.put(application.id.lower(), application)
        self._note_publisher(application)

    def application(self, application_id: str) -> ManagedApplication | None:
        """The managed application of this resource id."""
        return self._applications.get(application_id.lower())

    def granted(self, application_id: str) -> set[str]:
        """Object ids of the principals in a managed application's authorizations; none when it is not there."""
        application = self.application(application_id)
        return {grant.principal_id for grant in application.authorizations} if application else set()

    def admits(self, subscription: Subscription, directory_id: str) -> bool:
        """Whether a directory reaches into a subscription: its own, or the publisher's of an application there."""
        return directory_id in (subscription.directory_id, self._publishers.get(subscription.id.lower()))

    def remove(self, application: ManagedApplication) -> None:
        """Remove a managed application."""
        self._applications.remove(application.id.lower())
        del self._publishers[application.id.split("/")[2].lower()]

    def _note_publisher(self, application: ManagedApplication) -> None:
        self._publishers[application.id.split("/")[2].lower()] = application.publisher_directory_id
