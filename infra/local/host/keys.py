"""Access keys of HTTP functions: master, host and function keys, kept in one file of the state directory.

The file has the form of Azure's `host.json` in `azure-webjobs-secrets`, functions' own keys beside it. Keys are made
at the first start and are written nowhere else. Source: "Work with access keys in Azure Functions".
"""

import fcntl
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any


class Keys:
    """The keys of one application."""

    def __init__(self, path: Path, functions: list[str]) -> None:
        """Read `path`, adding what is missing. Several processes may share the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._content = _completed(path, functions)

    def allows(self, level: str, key: str, function: str) -> bool:
        """Whether `key` is enough for `level`: the master key for all, a host or the function's key for `function`."""
        if level == "anonymous":
            return True
        accepted = [self._content["masterKey"]]
        if level == "function":
            accepted += self._content["functionKeys"] + self._content["functions"][function]
        given = key.encode()
        matches = [hmac.compare_digest(given, one["value"].encode()) for one in accepted]  # all of them: no early end
        return any(matches)


def _key(name: str) -> dict[str, str]:
    return {"name": name, "value": secrets.token_urlsafe(40)}


def _completed(path: Path, functions: list[str]) -> Any:
    content: dict[str, Any] = {"masterKey": _key("_master"), "functionKeys": [_key("default")], "functions": {}}
    if path.exists():
        content = json.loads(path.read_bytes())
    missing = [name for name in functions if name not in content["functions"]]
    if missing or not path.exists():
        content["functions"].update({name: [_key("default")] for name in missing})
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file, indent=2)
        draft.replace(path)
    return content
