"""Resource locks, which customers put on their subscriptions: what they forbid there and below.

Source: learn.microsoft.com/azure/azure-resource-manager/management/lock-resources.
"""

from typing import Literal

from infra.local.standin.arm import ArmError
from infra.local.standin.scopes import upwards
from infra.local.standin.wire import World

type Level = Literal["CanNotDelete", "ReadOnly"]

_KIND = "resource_manager/locks"


class Locks:
    """All locks, by the scope that they are put on, written through to storage."""

    def __init__(self, world: World) -> None:
        self._storage = world.storage
        self._levels = dict(world.storage.load(_KIND))  # by scope in lower case

    def set(self, scope: str, level: Level | None) -> None:
        """Put a lock on a scope, in the place of the one that is there; None takes it away."""
        scope = scope.lower()
        if level is None:
            self._levels.pop(scope, None)
            self._storage.delete(_KIND, scope)
        else:
            self._levels[scope] = level
            self._storage.put(_KIND, scope, level)

    def check(self, method: str, scope: str) -> None:
        """Raise ArmError 409 when a lock forbids the request: ReadOnly all but reading, POST included.

        That listing keys is a POST, and so forbidden, is documented for storage accounts.
        """
        if method in ("GET", "HEAD"):
            return
        forbidding = ("ReadOnly", "CanNotDelete") if method == "DELETE" else ("ReadOnly",)
        locked = [at for at in upwards(scope) if self._levels.get(at) in forbidding]
        if locked:
            raise ArmError(
                409,
                "ScopeLocked",
                f"The scope '{scope}' cannot perform {'delete' if method == 'DELETE' else 'write'} operation because "
                f"following scope(s) are locked: '{"','".join(locked)}'. Please remove the lock and try again.",
            )
