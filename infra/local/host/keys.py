"""Access keys of HTTP functions: master, host and function keys, kept in one file of the state directory.

The file has the form of Azure's `host.json` in `azure-webjobs-secrets`, functions' own keys beside it. Keys are made
at the first start and are written nowhere else. Source: "Work with access keys in Azure Functions".
"""

import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any, Literal

type AuthLevel = Literal["anonymous", "function", "admin"]


class Keys:
    """The keys of one application."""

    def __init__(self, path: Path, functions: list[str]) -> None:
        """Read `path`, adding what is missing. Processes that share the file agree on its first version."""
        content = _read_or_make(path)
        missing = [name for name in functions if name not in content["functions"]]
        if missing:
            for name in missing:
                content["functions"][name] = [_key("default")]
            _replace(path, content)
        self.master = str(content["masterKey"]["value"])
        self._host = [str(key["value"]) for key in content["functionKeys"]]
        self._functions = {
            name: [str(key["value"]) for key in content["functions"].get(name, [])] for name in functions
        }

    def allows(self, level: AuthLevel, key: str, function: str | None = None) -> bool:
        """Whether `key` is enough for `level`: the master key for all, a host or the function's key for `function`."""
        if level == "anonymous":
            return True
        accepted = [self.master]
        if level == "function":
            accepted += self._host + self._functions.get(function or "", [])
        given = key.encode()
        matches = [hmac.compare_digest(given, value.encode()) for value in accepted]  # all of them: no early end
        return any(matches)


def _key(name: str) -> dict[str, str]:
    return {"name": name, "value": secrets.token_urlsafe(40)}


def _read_or_make(path: Path) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    _write(draft, {"masterKey": _key("_master"), "functionKeys": [_key("default")], "functions": {}})
    try:
        os.link(draft, path)  # only one of several processes makes the file, and nobody sees half of it
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def _replace(path: Path, content: object) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    _write(draft, content)
    draft.replace(path)


def _write(path: Path, content: object) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(content, file, indent=2)
