"""A process of the service that opens tenants' accounts and then looks for what of them it still holds.

Arguments: a file, and ids of tenants. It prints a line when it has let go of all of them, waits for a line, reads from
the file what to look for (JSON: name -> text; reading it from the input would leave it in a buffer), and prints the
names found, then the same while it holds a lease on the first tenant.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Collection, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from shared.access.documents import Documents
from shared.bootstrap import App
from shared.core.ids import RequestId, TenantId
from shared.core.lease import Purpose
from shared.settings import Settings

_SHORTEST = 20  # characters of what is looked for; nothing shorter is looked at


def reachable(excluded: Collection[int]) -> Iterator[object]:
    """Every object that anything leads to, but for those of these ids."""
    seen = set(excluded)
    waiting = [one for one in gc.get_objects() if id(one) not in seen]
    seen.update(map(id, waiting))
    seen.update((id(waiting), id(seen)))
    while waiting:
        one = waiting.pop()
        yield one
        for other in gc.get_referents(one):
            if id(other) not in seen:
                seen.add(id(other))
                waiting.append(other)


def found(wanted: dict[str, str]) -> list[str]:
    """The names of what is still there, as text or as bytes."""
    gc.collect()
    as_bytes = {name: text.encode() for name, text in wanted.items()}
    own = {id(one) for mapping in (wanted, as_bytes) for one in (mapping, *mapping.values())}
    names = set()
    for one in reachable(own):
        if isinstance(one, str) and len(one) >= _SHORTEST:
            names |= {name for name, text in wanted.items() if text in one}
        elif isinstance(one, bytes | bytearray) and len(one) >= _SHORTEST:
            names |= {name for name, text in as_bytes.items() if text in one}
    return sorted(names)


async def open_account(application: App, tenant_id: str) -> AbstractAsyncContextManager[Documents]:
    tenant = await application.registry.get(TenantId(tenant_id))
    purpose = Purpose("service:test", "candidates.read", "cand_x", RequestId("req_x"), writes=False)
    return application.broker.lease(tenant.target, purpose)


async def use(application: App, tenant_id: str) -> None:
    async with await open_account(application, tenant_id) as documents:
        assert await documents.read("candidates", "x", "x") is None


async def main() -> None:
    application = App(Settings.from_env())
    file, *tenants = sys.argv[1:]
    for _ in range(2):
        await asyncio.gather(*(use(application, tenant_id) for tenant_id in tenants for _ in range(3)))
    sys.stdout.write("let go\n")
    sys.stdout.flush()
    sys.stdin.readline()
    wanted: dict[str, str] = json.loads(Path(file).read_bytes())  # noqa: ASYNC240 - nothing else runs here
    sys.stdout.write(json.dumps(found(wanted)) + "\n")
    async with await open_account(application, tenants[0]):
        sys.stdout.write(json.dumps(found(wanted)) + "\n")
    await application.close()


if __name__ == "__main__":
    asyncio.run(main())
