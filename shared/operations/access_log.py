"""Verifying a tenant's access log. It is opened like for any other invocation, so this reading is on record too."""

import json
from argparse import Namespace
from dataclasses import asdict
from datetime import datetime

from shared.access.log import AccessLog
from shared.bootstrap import App
from shared.core.caller import ServiceCaller
from shared.core.ids import RequestId, new_id
from shared.core.lease import Purpose
from shared.operations.terminal import printable

_CALLER = ServiceCaller("operations")


async def verify(application: App, options: Namespace) -> int:
    """Print the number of records and each flaw; 0 when there is none, else 1. Raises BulkheadError."""
    tenant = (await application.registry.read(options.tenant)).tenant
    now = application.clock.now()
    purpose = Purpose(_CALLER.actor, "access_log.verify", "access_log", RequestId(new_id("req", now)), writes=False)
    anchors = await application.anchors.of(tenant.id)  # first: what is written meanwhile only makes chains longer
    async with application.broker.lease(tenant.target, purpose) as account:
        count, flaws = await AccessLog(account).verify(anchors, datetime.fromisoformat(tenant.created_at), now)
    if options.json:
        shown = [asdict(flaw) for flaw in flaws]
        result = {"tenant_id": tenant.id, "records": count, "anchors": len(anchors), "flaws": shown}
        print(json.dumps(result))
    else:
        print(f"{tenant.id}: {count} records, {len(anchors)} anchors, {len(flaws) or 'no'} flaws")
        for flaw in flaws:
            print(f"  {flaw.what}: record {flaw.number} of writer {printable(flaw.writer)}")
    return 1 if flaws else 0
