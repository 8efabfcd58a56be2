"""What one tenant, one daemon and one key try on the other tenant, and how each is refused."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import HttpResponseError

from infra.local.client import Client
from infra.local.company import Company
from infra.local.demo.checks import Checks
from infra.local.demo.intruder import Intruder, refusal
from infra.local.queues import Queues


@dataclass(frozen=True, slots=True)
class Attempts:
    """Company `a` against company `b`. `old_key` is a key of `a` that has been regenerated since."""

    client: Client
    checks: Checks
    intruder: Intruder
    queues: Queues
    a: Company
    b: Company
    old_key: str

    async def users(self) -> None:
        """Tokens of users, with Bulkhead's API."""
        a, b = self.a, self.b
        report = (await b.reports())[0]["id"]
        roles = ("Tenant.Admin",)
        for who, status, reply in (
            (
                f"{a.name}'s administrator asks for {b.name}'s report",
                404,
                await a.call("GET", f"/reports/{report}"),
            ),
            (
                f"the same, naming {b.name} in the header Bulkhead-Tenant",
                404,
                await a.call("GET", f"/reports/{report}", headers={"Bulkhead-Tenant": b.id}),
            ),
            (
                f"the same, with a forged token of {b.name}'s administrator",
                401,
                await self.client.api(
                    "GET", f"/reports/{report}", await self.client.token(b.name, roles, key="forged")
                ),
            ),
            (
                f"the same, with a token of {a.name}'s directory that claims to be of {b.name}'s",
                401,
                await self.client.api(
                    "GET",
                    f"/reports/{report}",
                    await self.client.token(a.name, roles, overrides={"tid": b.deployed["directory_id"]}),
                ),
            ),
            (
                f"{b.name}'s own user asks for the report, without a role for reports",
                403,
                await b.call("GET", f"/reports/{report}", roles=("Candidates.ReadWrite",)),
            ),
            (
                f"{a.name}'s administrator takes the role Publisher.Operate and lists all tenants",
                403,
                await a.call("GET", "/tenants", roles=("Publisher.Operate",)),
            ),
        ):
            seen = f"{reply.status} {reply.json.get('type', '').rpartition(':')[2]}"
            self.checks.expect(reply.status == status, f"refused: {who}", seen)

    async def identities(self) -> None:
        """Identities and keys, with Azure's own SDKs."""
        a, b, intruder = self.a, self.b, self.intruder
        daemon = await intruder.daemon(a)
        service = intruder.managed_identity("BULKHEAD_IDENTITY_CLIENT_ID")
        control = intruder.managed_identity("BULKHEAD_CONTROL_IDENTITY_CLIENT_ID")
        try:
            keys = await intruder.list_keys(daemon, a)
            self.checks.expect(
                bool(await intruder.read_reports(a, keys["primary"])),
                f"allowed: {a.name}'s daemon lists its own account's keys, and they open it",
                "or what follows would prove nothing",
            )
            await self._refused(403, f"{a.name}'s daemon lists {b.name}'s keys", intruder.list_keys(daemon, b))
            await self._refused(
                403, f"the data plane's managed identity lists {a.name}'s keys", intruder.list_keys(service, a)
            )
            await self._refused(
                403, f"the control plane's managed identity lists {a.name}'s keys", intruder.list_keys(control, a)
            )
            await self._refused(
                401, f"{a.name}'s key opens {b.name}'s account", intruder.read_reports(b, keys["primary"])
            )
            await self._refused(
                401, f"{a.name}'s key from before its regeneration opens its own account",
                intruder.read_reports(a, self.old_key),
            )  # fmt: skip
        finally:
            for credential in (daemon, service, control):
                await credential.close()

    async def messages(self, sent: str, candidate_id: str) -> None:
        """The queue of signed orders. `sent` is an order of `b` that was carried out before."""
        a, b = self.a, self.b
        before = {report["id"] for report in await b.reports()}
        forged = self.queues.system(a).order(
            candidate_id, "essential", key_id=self.queues.system(b).key_id, iss=b.deployed["directory_id"]
        )
        unsigned = sent.rpartition(".")[0] + "."
        await self.queues.send([forged, unsigned, sent])
        rejected = await self.queues.rejected([forged, unsigned])
        for text, reason, who in (
            (forged, "bad_signature", f"an order signed by {a.name} in {b.name}'s name"),
            (unsigned, "bad_signature", f"{b.name}'s order with its signature cut off"),
        ):
            seen = rejected.get(text, "not rejected")
            self.checks.expect(seen == reason, f"refused: {who}, and moved to check-requests-rejected", seen)
        after = {report["id"] for report in await b.reports()}
        self.checks.expect(
            after == before,
            f"without effect: {b.name}'s order sent a second time (same jti)",
            f"{len(after)} reports, as before",
        )

    async def _refused(self, status: int, who: str, attempt: Awaitable[Any]) -> None:
        try:
            await attempt
        except HttpResponseError as error:
            self.checks.expect(error.status_code == status, f"refused: {who}", refusal(error))
        else:
            self.checks.expect(False, f"refused: {who}", "was allowed")  # noqa: FBT003 - reads as assert does
