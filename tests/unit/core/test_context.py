import asyncio
from contextvars import copy_context

from shared.core.context import REQUEST_ID
from shared.core.ids import RequestId


async def test_each_invocation_has_its_own_id() -> None:
    async def invocation(name: str) -> str:
        REQUEST_ID.set(RequestId(name))
        await asyncio.sleep(0)
        return REQUEST_ID.get()

    assert await asyncio.gather(invocation("req_1"), invocation("req_2")) == ["req_1", "req_2"]
    assert copy_context().run(REQUEST_ID.get) == ""
