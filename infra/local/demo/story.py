"""What happens in the demonstration, part by part."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from infra.local import journal, leaks, people
from infra.local.company import Company
from infra.local.demo.attempts import Attempts
from infra.local.demo.checks import Checks
from infra.local.demo.intruder import Intruder
from infra.local.lab import Lab
from infra.local.people import Sample
from infra.local.screen import table

_A, _B = "contoso", "fabrikam"
_POLL = 0.25  # seconds
_HELD_MS = 1200  # long enough for a key to be regenerated meanwhile
_FINISHED = ("complete", "canceled", "paused")


class Story:
    """Plays everybody: the customers, the publisher's administrator, a reviewer, an intruder."""

    def __init__(self, lab: Lab, checks: Checks) -> None:
        self.lab = lab
        self.client = lab.client
        self.queues = lab.queues
        self.checks = checks
        self.screen = checks.screen
        self.a: Company
        self.b: Company
        self.samples: dict[str, Sample] = {}  # by candidate id

    async def tell(self) -> None:
        """Everything, in order."""
        await self._companies()
        await self._candidates()
        first = await self._one_report()
        async with Intruder(self.client.endpoints) as intruder:
            async with await intruder.daemon(self.a) as daemon:
                old_key = (await intruder.list_keys(daemon, self.a))["primary"]
            sent = await self._all_reports()
            await self._review()
            await self._results()
            await self._five_steps(first)
            self.screen.heading(f"What {_A} tries on {_B}: its users, its daemon, its keys, its orders")
            attempts = Attempts(self.lab, self.checks, intruder, self.a, self.b, old_key)
            await attempts.users()
            await attempts.identities()
            await attempts.messages(sent, self._of(self.b)[0])
        await self._leaks()

    async def _companies(self) -> None:
        self.screen.heading("Two companies deploy the managed application, and are registered")
        self.a = await self.lab.company("secret", _A, "Contoso Staffing")
        self.b = await self.lab.company("certificate", _B, "Fabrikam Logistics")
        self._print([
            (one.name, f"account {one.account}", f"daemon signs in with a {one.registered['credential']}", one.id)
            for one in (self.a, self.b)
        ])  # fmt: skip

    async def _candidates(self) -> None:
        samples = people.samples()
        self.screen.heading(f"{len(samples)} candidates sign their authorizations")

        async def add(sample: Sample) -> None:
            company = self.a if sample["tenant"] == _A else self.b
            candidate_id = await company.add_candidate(sample["candidate"])
            self.samples[candidate_id] = sample
            self.screen.passing(f"  {len(self.samples)} of {len(samples)}")

        await asyncio.gather(*map(add, samples))
        self.screen.erase()
        for company in (self.a, self.b):
            self.screen.line(f"  {company.name}: {', '.join(_name(self.samples[one]) for one in self._of(company))}")

    def _of(self, company: Company) -> list[str]:
        """Ids of the company's candidates, in the order of the file."""
        return sorted(
            (one for one, sample in self.samples.items() if sample["tenant"] == company.name),
            key=lambda one: str(self.samples[one]["candidate"]["custom_id"]),
        )

    async def _one_report(self) -> dict[str, Any]:
        """The first check runs while nothing else does: its invocations are looked at below."""
        report = await self.a.order(self._of(self.a)[0])
        await self.queues.idle(self.a)
        return report

    async def _all_reports(self) -> str:
        """Everybody else, over HTTP and over the queue, and a new key in the middle. Gives a signed order of `b`."""
        over_http, over_queue = self._of(self.a)[1:], self._of(self.b)
        self.screen.heading(f"Checks are ordered: by {_A} over HTTP, by {_B} over the queue, signed")
        system = self.queues.system(self.b)
        orders = [system.order(candidate_id, "essential") for candidate_id in over_queue]
        since = await self.lab.now()
        # Two jobs are held on their way to the account, until the key with which they were signed is no more.
        held = {
            "service": "cosmos", "operation": "replace_item", "target": f"{self.a.account}/dbs/bulkhead/colls/reports",
            "delay_ms": _HELD_MS, "times": 2,
        }  # fmt: skip
        await self.client.control("PUT", "/faults", {"rules": [held]})
        regenerating = asyncio.create_task(self._regenerate(since))
        await asyncio.gather(
            self.queues.send(orders),
            *(self.a.order(candidate_id, key=f"demo-{candidate_id}") for candidate_id in over_http),
        )
        await self._wait(len(self.samples))
        await regenerating
        await self.client.control("DELETE", "/faults")
        entries, _ = await self.client.journal(since)
        refused = sum(
            journal.step(one) == "5" and one["status"] == 401 and self.a.account in one["target"] for one in entries
        )
        self.checks.expect(
            refused > 0,
            "jobs that held the old key were refused, fetched the new one and finished",
            f"{refused or 'none'} refused",
        )
        return orders[0]

    async def _regenerate(self, since: int) -> None:
        """Once jobs of `a` hold its keys, its administrator regenerates them."""
        # only jobs look whether consent still stands
        consent = f"{self.a.account}/dbs/bulkhead/colls/candidates/docs/auth_"
        await self.lab.seen(since, operation="read_item", target=consent, within=60)
        await self.a.regenerate("primary", "primaryReadonly")
        self.screen.erase()
        self.screen.line(f"  in the middle, {_A}'s administrator regenerates its primary and primary read-only key")

    async def _wait(self, count: int) -> None:
        began, finished = time.monotonic(), 0
        while finished < count:
            await asyncio.sleep(_POLL)
            finished = sum(report["status"] in _FINISHED for report in await self._reports())
            text = f"  {finished} of {count} reports are through, {time.monotonic() - began:.1f} s after the orders"
            self.screen.passing(text)
        self.screen.erase()
        self.screen.line(text)

    async def _review(self) -> None:
        self.screen.heading("A likeness of names is no proof: a person looks at what waits")
        roles = ("Adjudications.ReadWrite",)
        for company in (self.a, self.b):
            for report in (await company.must("GET", "/reports?status=paused", roles=roles))["data"]:
                for screening in report["screenings"]:
                    if not screening["review_required"]:
                        continue
                    match = screening["findings"][0]["match"]
                    path = f"/reports/{report['id']}/screenings/{screening['id']}/review"
                    await company.must("POST", path, {"decision": "confirmed"}, roles=roles)
                    self.screen.line(
                        f"  {_name(self.samples[report['candidate_id']])} and {match['primary_name']} of the list "
                        f"(score {match['score']:.2f}, agrees: {', '.join(match['agrees'])}): confirmed"
                    )

    async def _results(self) -> None:
        self.screen.heading("The reports, with their screenings")
        rows = []
        as_expected = True
        reports = await self._reports()
        for candidate_id, sample in sorted(self.samples.items(), key=lambda item: item[1]["candidate"]["custom_id"]):
            for report in (one for one in reports if one["candidate_id"] == candidate_id):
                screenings = {one["type"]: _outcome(one) for one in report["screenings"]}
                as_expected &= screenings == sample["expect"] | {
                    kind: "confirmed" for kind, word in sample["expect"].items() if word == "needs_review"
                }
                rows.append((
                    sample["tenant"], _name(sample), report["source"], report["status"], report["result"] or "",
                    ", ".join(f"{kind} {word}" for kind, word in screenings.items()),
                ))  # fmt: skip
        self._print(rows)
        self.checks.expect(
            sorted(report["candidate_id"] for report in reports) == sorted(self.samples), "one report for each order"
        )
        self.checks.expect(
            all(report["status"] == "complete" for report in reports) and as_expected,
            "every report is complete, every screening says what its sample is there to show",
        )

    async def _five_steps(self, report: dict[str, Any]) -> None:
        self.screen.heading("The five steps of one invocation: a job that ran one screening")
        log = (await self.a.must("GET", "/access_log?limit=100"))["data"]
        record = next(
            one for one in reversed(log) if (one["action"], one["object_id"]) == ("screenings.run", report["id"])
        )
        mine = await self.lab.seen(1, correlation_id=record["request_id"])
        names = await self.client.names()
        rows = [
            (journal.step(one), journal.STEPS[journal.step(one)], journal.clock(one),
             journal.named(one["principal"].removeprefix("app:"), names), f"{one['service']} {one['operation']}",
             journal.outcome(one), journal.named(journal.target(one), names))
            for one in mine if journal.step(one)
        ]  # fmt: skip
        self._print([("step", "", "time (UTC)", "who", "did", "answer", "to which target"), *rows])
        self.screen.line(
            f"  {_A}'s own access log tells of it: {record['actor']} {record['action']} {record['object_id']}, "
            f"with the {record['key_kind']} key, in request {record['request_id']}"
        )
        counts = {number: sum(row[0] == number for row in rows) for number in ("1", "2", "3+4")}
        self.checks.expect(
            set(counts.values()) == {1},
            "exactly one Key Vault read, one token request and one listKeys",
            ", ".join(f"step {number}: {count}" for number, count in counts.items()),
        )

    async def _leaks(self) -> None:
        self.screen.heading("Looking for every secret ever issued, and for the candidates' personal data")
        issued = (await self.client.control("GET", "/secrets"))["secrets"]
        sent = (await self.client.control("GET", "/messages"))["messages"]
        messages = [(f"message in {message['queue']}", message["text"]) for message in sent]
        state = self.lab.state
        logs = list(leaks.logs(state))
        items = list(leaks.stored_items(state))
        answers = [("an answer of the API", text) for text in self.client.answers]
        secrets = list(leaks.secrets(issued))
        for noun, texts in (("log files", logs), ("messages", messages), ("stored items", items), ("answers", answers)):
            self._scan(f"{len(issued)} secrets", noun, texts, secrets)
        personal = [piece for sample in self.samples.values() for piece in leaks.personal_data(sample["candidate"])]
        registry = list(leaks.stored_items(state, account="bulkhead-registry"))
        for noun, texts in (("log files", logs), ("messages", messages), ("items of the registry", registry)):
            self._scan("personal data", noun, texts, personal)
        own = leaks.scan(leaks.stored_items(state, account=self.a.account), personal)
        self.checks.expect(
            bool(own.leaks),
            "the same search finds personal data where it belongs: in the tenant's own account",
            f"{len(own.leaks)} times",
        )

    def _scan(self, what: str, noun: str, texts: leaks.Pairs, forbidden: leaks.Pairs) -> None:
        found = leaks.scan(texts, forbidden)
        places = sorted({f"{leak.kind} in {leak.place}" for leak in found.leaks})
        seen = "; ".join(places[:3]) if places else f"{found.texts} searched, {found.bytes / 1000:.0f} kB"
        self.checks.expect(not places and found.texts > 0, f"zero found of {what} in {noun}", seen)

    async def _reports(self) -> list[dict[str, Any]]:
        both = await asyncio.gather(self.a.reports(), self.b.reports())
        return [report for reports in both for report in reports]

    def _print(self, rows: Sequence[tuple[str, ...]]) -> None:
        for row in table(rows):
            self.screen.line(row)


def _name(sample: Sample) -> str:
    candidate = sample["candidate"]
    return f"{candidate['first_name']} {candidate['last_name']}"


def _outcome(screening: dict[str, Any]) -> str:
    if screening["status"] == "canceled":
        return "canceled"
    return "confirmed" if screening["review"] else str(screening["result"])
