import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.local.client import ControlError, Reply
from infra.local.signing import HrSystem


class RefusingClient:
    """Bulkhead's API refuses whatever it is asked."""

    def __init__(self, code: str, detail: str) -> None:
        self._problem = json.dumps({"type": f"urn:bulkhead:problem:{code}", "detail": detail})

    async def token(self, *_: Any) -> str:
        return "token"

    async def api(self, *_: Any) -> Reply:
        return Reply(403, {}, self._problem)


@pytest.mark.parametrize(("code", "helps"), [("not_a_tenant", True), ("tenant_locked", False)])
async def test_registration_is_advised_where_it_helps(tmp_path: Path, code: str, *, helps: bool) -> None:
    endpoints: Any = SimpleNamespace(env={"BULKHEAD_API_AUDIENCE": "a4d20c7e"})
    client: Any = RefusingClient(code, "The reason.")
    with pytest.raises(ControlError) as caught:
        await HrSystem(tmp_path, {"name": "acme", "directory_id": "8c1e5a40"}, endpoints).register_key(client)
    assert "The reason." in str(caught.value)
    assert ("tenant register acme" in str(caught.value)) == helps
