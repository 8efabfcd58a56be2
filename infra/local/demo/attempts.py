"""What one tenant, one daemon and one key try on the other tenant, and how each is refused."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import HttpResponseError

from infra.local.client import Reply
from infra.local.company import Company
from infra.local.demo.checks import Checks
from infra.local.demo.intruder import Intruder, refusal
from infra.local.lab import Lab


@dataclass(frozen=True, slots=True)
class Attempts:
    """Company `a` against company `b`. `old_key` is a key of `a` that has been regenerated since."""

    lab: Lab
    checks: Checks
    intruder: Intruder
    a: Company
    b: Company
    old_key: str

    async def users(self) -> None:
        """Tokens of users, with Bulkhead's API."""
        a, b, client = self.a, self.b, self.lab.client
        path = f"/reports/{(await b.reports())[0]['id']}"
        admin = ("Tenant.Admin",)
        forged = await client.token(b.name, admin, key="forged")
        posing = await client.token(a.name, admin, overrides={"tid": b.deployed["directory_id"]})
        await self._answered(404, f"{a.name}'s administrator asks for {b.name}'s report", a.call("GET", path))
        await self._answered(
            404, f"the same, naming {b.name} in the header Bulkhead-Tenant",
            a.call("GET", path, headers={"Bulkhead-Tenant": b.id}),
        )  # fmt: skip
        await self._answered(
            401, f"the same, with a forged token of {b.name}'s administrator", client.api("GET", path, forged)
        )
        await self._answered(
            401, f"the same, with a token of {a.name}'s directory that claims to be of {b.name}'s",
            client.api("GET", path, posing),
        )  # fmt: skip
        await self._answered(
            403, f"{b.name}'s own user asks for the report, without a role for reports",
            b.call("GET", path, roles=("Candidates.ReadWrite",)),
        )  # fmt: skip
        await self._answered(
            403, f"{a.name}'s administrator takes the role Publisher.Operate and lists all tenants",
            a.call("GET", "/tenants", roles=("Publisher.Operate",)),
        )  # fmt: skip

    async def identities(self) -> None:
        """Identities and keys, with Azure's own SDKs."""
        a, b, intruder, refused = self.a, self.b, self.intruder, self._refused
        async with (
            await intruder.daemon(a) as daemon,
            intruder.managed_identity("BULKHEAD_IDENTITY_CLIENT_ID") as service,
            intruder.managed_identity("BULKHEAD_CONTROL_IDENTITY_CLIENT_ID") as control,
        ):
            key = (await intruder.list_keys(daemon, a))["primary"]
            self.checks.expect(
                bool(await intruder.read_reports(a, key)),
                f"allowed: {a.name}'s daemon lists its own account's keys, and they open it",
                "or what follows would prove nothing",
            )
            await refused(403, f"{a.name}'s daemon lists {b.name}'s keys", intruder.list_keys(daemon, b))
            for plane, identity in (("data", service), ("control", control)):
                who = f"the {plane} plane's managed identity lists {a.name}'s keys"
                await refused(403, who, intruder.list_keys(identity, a))
            await refused(401, f"{a.name}'s key opens {b.name}'s account", intruder.read_reports(b, key))
            who = f"{a.name}'s key from before its regeneration opens its own account"
            await refused(401, who, intruder.read_reports(a, self.old_key))

    async def messages(self, sent: str, candidate_id: str) -> None:
        """The queue of signed orders. `sent` is an order of `b` that was carried out before."""
        a, b, queues = self.a, self.b, self.lab.queues
        before = {report["id"] for report in await b.reports()}
        forged = queues.system(a).order(
            candidate_id, "essential", key_id=queues.system(b).key_id, iss=b.deployed["directory_id"]
        )
        unsigned = sent.rpartition(".")[0] + "."
        await queues.send([forged, unsigned, sent])
        rejected = await queues.rejected([forged, unsigned])
        for text, who in (
            (forged, f"an order signed by {a.name} in {b.name}'s name"),
            (unsigned, f"{b.name}'s order with its signature cut off"),
        ):
            seen = rejected.get(text, "not rejected")
            self.checks.expect(seen == "bad_signature", f"refused: {who}, and moved to check-requests-rejected", seen)
        after = {report["id"] for report in await b.reports()}
        self.checks.expect(
            after == before,
            f"without effect: {b.name}'s order sent a second time (same jti)",
            f"{len(after)} reports, as before",
        )

    async def _answered(self, status: int, who: str, attempt: Awaitable[Reply]) -> None:
        reply = await attempt
        seen = f"{reply.status} {reply.json.get('type', '').rpartition(':')[2]}"
        self.checks.expect(reply.status == status, f"refused: {who}", seen)

    async def _refused(self, status: int, who: str, attempt: Awaitable[Any]) -> None:
        try:
            await attempt
        except HttpResponseError as error:
            self.checks.expect(error.status_code == status, f"refused: {who}", refusal(error))
        else:
            self.checks.expect(False, f"refused: {who}", "was allowed")  # noqa: FBT003 - reads as assert does
