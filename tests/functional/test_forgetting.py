"""After the last invocation, nothing in a process leads to a key, a credential or a daemon's token: SDKs and all."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest

from infra.local.lab import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROJECT = Path(__file__).parents[2]


async def test_no_reachable_object_holds_what_an_invocation_held(lab: Lab, tmp_path: Path) -> None:
    companies = [await lab.company(kind) for kind in ("secret", "certificate", "federated")]
    file = tmp_path / "wanted.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.functional.forgetful_process", str(file), *(company.id for company in companies),
        cwd=PROJECT, env=os.environ | lab.client.endpoints.env,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert await process.stdout.readline() == b"let go\n"
    issued = (await lab.client.control("GET", "/secrets"))["secrets"]
    daemons = {company.registered["daemon_client_id"] for company in companies}
    wanted = {f"{one['kind']} {number}": text for number, one in enumerate(issued) if (text := needle(one, daemons))}
    assert {name.partition(" ")[0] for name in wanted} == {
        "account_key", "daemon_secret", "private_key", "access_token",
    }  # fmt: skip
    file.write_text(json.dumps(wanted))
    process.stdin.write(b"look\n")

    afterwards = json.loads(await process.stdout.readline())
    while_held = json.loads(await process.stdout.readline())

    assert await process.wait() == 0
    assert afterwards == []
    assert {name.partition(" ")[0] for name in while_held} == {"account_key"}, "the search finds what is there"


def needle(issued: dict[str, str], daemons: set[str]) -> str:
    """What to look for; nothing of what a process may well hold, as tokens of its own managed identity."""
    kind, value = issued["kind"], issued["value"]
    match kind:
        case "account_key" | "daemon_secret":
            return value
        case "private_key":
            return value.splitlines()[2] if value.startswith("-----") else value
        case "access_token":
            claims: dict[str, Any] = jwt.decode(value, options={"verify_signature": False})
            return value if claims.get("appid") in daemons else ""
        case _:
            return ""
