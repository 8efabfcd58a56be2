"""Where a running stack is found: `endpoints.json` in its state directory, valid while the stack holds its lock."""

import fcntl
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local.processes import write_whole
from infra.local.screen import program

FILE = "endpoints.json"
DEFAULT_STATE = Path(".local")
_LOCK = "stack.lock"


class NotRunningError(Exception):
    """No stack runs over this state directory, or not yet."""

    def __init__(self, state: Path, *, starting: bool = False) -> None:
        start = "make up" if state == DEFAULT_STATE else f"{program()} up --state {shlex.quote(str(state))}"
        super().__init__(
            f"The stack with the state directory '{state}' is just starting or ending. Try again in a moment."
            if starting
            else f"No stack is running with the state directory '{state}'. Start one with: {start}"
        )


class RunningError(Exception):
    """A stack runs over this state directory already."""

    def __init__(self, state: Path) -> None:
        super().__init__(
            f"A stack is running with the state directory '{state}' already{_where(state)}. Use it, or end it with "
            "Ctrl-C where it runs, or start another one beside it with --state DIR."
        )


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A running stack. A process started with `env` reaches the stand-in under Azure's real host names."""

    functions: str  # URL of the front door
    apps: dict[str, list[str]]  # URLs of the host processes, by plane
    stand_in: str  # URL of the control API
    ca_bundle: str
    proxy: str
    service_bus_connection_string: str
    env: dict[str, str]

    def publish(self, state: Path) -> None:
        """Write the file: nobody ever reads half of it."""
        write_whole(state / FILE, json.dumps(asdict(self), indent=2) + "\n")


def withdraw(state: Path) -> None:
    """Remove the file, if it is there."""
    (state / FILE).unlink(missing_ok=True)


def load(state: Path) -> Endpoints:
    """The endpoints of the stack that runs over `state`. Raises NotRunningError."""
    if not was_made_by_a_stack(state):
        raise NotRunningError(state)
    try:
        with lock(state):
            raise NotRunningError(state)  # a file that is there was left behind by a stack that was killed
    except RunningError:
        pass
    try:
        return Endpoints(**json.loads((state / FILE).read_text()))
    except FileNotFoundError:
        raise NotRunningError(state, starting=True) from None


def was_made_by_a_stack(state: Path) -> bool:
    """Whether the directory is the state of a stack that runs or has run."""
    return (state / _LOCK).exists()


@contextmanager
def lock(state: Path) -> Iterator[None]:
    """Own the state directory, which is made if need be. The lock ends with the process. Raises RunningError."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / _LOCK).open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunningError(state) from None
        yield


def _where(state: Path) -> str:
    try:
        return f": {json.loads((state / FILE).read_text())['functions']}/api"
    except (OSError, ValueError, KeyError):
        return ""
