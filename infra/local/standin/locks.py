"""Resource locks: what they forbid at and below their scope, and Resource Manager's operations on them.

Sources: learn.microsoft.com/azure/azure-resource-manager/management/lock-resources (what each level forbids),
learn.microsoft.com/rest/api/resources/management-locks (paths, bodies).
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from infra.local.standin.arm import ArmError, ArmRequest, json_object
from infra.local.standin.scopes import ByScope
from infra.local.standin.wire import Answer, World

type Level = Literal["CanNotDelete", "ReadOnly"]
LEVELS: tuple[Level, ...] = get_args(Level.__value__)


@dataclass(slots=True, frozen=True)
class Lock:
    """A lock at a scope."""

    scope: str
    name: str
    level: Level
    notes: str | None = None

    @property
    def id(self) -> str:
        """What tells it from other locks; without regard to case."""
        return _id(self.scope, self.name)


class Locks:
    """All locks, and the operations on them; access is checked by the caller."""

    def __init__(self, world: World) -> None:
        self._locks = ByScope(world.storage, "resource_manager/locks", Lock)

    def set(self, lock: Lock) -> bool:
        """Put a lock in force; False when it replaces one."""
        is_new = self._locks.get(lock.id) is None
        self._locks.put(lock)
        return is_new

    def remove_scope(self, scope: str) -> None:
        """Remove the locks at and below `scope`."""
        for lock in self._locks.within(scope):
            self._locks.remove(lock.id)

    def check(self, method: str, scope: str) -> None:
        """Raise ArmError 409 when a lock forbids the request: ReadOnly all but reading, POST included.

        That listing keys is a POST, and so forbidden, is documented for storage accounts.
        """
        if method in ("GET", "HEAD"):
            return
        locked = [lock.scope for lock in self._locks.above(scope) if lock.level == "ReadOnly" or method == "DELETE"]
        if locked:
            raise ArmError(
                409,
                "ScopeLocked",
                f"The scope '{scope}' cannot perform {'delete' if method == 'DELETE' else 'write'} operation because "
                f"following scope(s) are locked: '{"','".join(locked)}'. Please remove the lock and try again.",
            )

    def put(self, request: ArmRequest) -> Answer:
        """Create or replace a lock."""
        properties = json_object(request.call).get("properties") or {}
        level, notes = properties.get("level"), properties.get("notes")
        if level not in LEVELS:
            raise ArmError(400, "LockLevelNotSupported", f"The lock level '{level}' is not one of {', '.join(LEVELS)}.")
        lock = Lock(request.parts["scope"], request.parts["lock"], level, None if notes is None else str(notes))
        return Answer(201 if self.set(lock) else 200, _body(lock))

    def get(self, request: ArmRequest) -> Answer:
        """One lock."""
        lock = self._find(request)
        if lock is None:
            raise ArmError(404, "LockNotFound", f"The lock '{request.parts['lock']}' could not be found.")
        return Answer(200, _body(lock))

    def delete(self, request: ArmRequest) -> Answer:
        """Remove a lock; 204 when it is gone already."""
        lock = self._find(request)
        if lock is None:
            return Answer(204)
        self._locks.remove(lock.id)
        return Answer(200)

    def list_at(self, request: ArmRequest) -> Answer:
        """The locks at a scope and below it."""
        return Answer(200, {"value": [_body(lock) for lock in self._locks.within(request.parts["scope"])]})

    def _find(self, request: ArmRequest) -> Lock | None:
        return self._locks.get(_id(request.parts["scope"], request.parts["lock"]))


def _id(scope: str, name: str) -> str:
    return f"{scope}/{name}".lower()


def _body(lock: Lock) -> dict[str, Any]:
    return {
        "id": f"{lock.scope}/providers/Microsoft.Authorization/locks/{lock.name}",
        "name": lock.name,
        "type": "Microsoft.Authorization/locks",
        "properties": {"level": lock.level} | ({} if lock.notes is None else {"notes": lock.notes}),
    }
