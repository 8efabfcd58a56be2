"""What a daemon signs in with: each kind, changed while the service runs; and a daemon that needs no credential."""

from typing import Any

import pytest

from infra.local.client import Reply
from infra.local.lab import Lab
from infra.local.people import candidate

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDINARY = candidate("C-1001")


async def steps(lab: Lab, reply: Reply) -> list[tuple[str, str]]:
    """What a request asked of Key Vault, Entra and Resource Manager, and of the managed identity's endpoint."""
    entries, _ = await lab.client.journal()
    return [
        (one["service"], one["operation"])
        for one in entries
        if one["correlation_id"] == reply.headers["X-Request-Id"] and one["service"] not in ("cosmos", "service_bus")
    ]


async def test_federated_daemon_is_opened_without_any_credential(lab: Lab) -> None:
    since = await lab.now()
    company = await lab.company("federated")
    assert (company.registered["credential"], company.registered["credential_name"]) == ("federated", "")

    report = await company.order(await company.add_candidate(ORDINARY))
    assert (await lab.report(company, report["id"]))["result"] == "clear"  # requests and jobs
    await lab.queues.idle(company)  # a job beside what follows would share its steps
    reply = await company.call("GET", f"/reports/{report['id']}")

    taken = [one for one in await steps(lab, reply) if one[0] != "managed_identity"]  # which is asked once a day
    assert taken == [("entra", "issue_token"), ("resource_manager", "list_keys")]
    entries, _ = await lab.client.journal(since)
    daemon = company.registered["daemon_client_id"]
    assert {one["status"] for one in entries if daemon in one["target"]} == {200}
    assert not [one for one in entries if one["service"] == "key_vault" and company.name in one["target"]]
    issued = [
        one for one in entries if one["service"] == "managed_identity" and "AzureADTokenExchange" in one["target"]
    ]
    assert len(issued) <= 1


async def test_credential_is_changed_while_the_service_runs(lab: Lab) -> None:
    company = await lab.company("secret")
    candidate_id = await company.add_candidate(ORDINARY)
    operator = await lab.client.token(roles=("Publisher.Operate",))
    path = f"/tenants/{company.id}"

    async def change(credential: str, **more: Any) -> Reply:
        """The administrator makes a new credential, and an operator tells Bulkhead of it."""
        made = await lab.client.control("POST", f"/daemons/{company.name}/rotate", {"credential": credential} | more)
        etag = (await lab.client.api("GET", path, operator)).headers["ETag"]
        wanted = {name: made[name] for name in ("credential", "credential_name", "vault")}
        return await lab.client.api("PATCH", path, operator, wanted, {"If-Match": etag})

    kinds = []
    for credential, more in (
        ("certificate", {"format": "pem"}), ("certificate", {"format": "pkcs12"}), ("federated", {}), ("secret", {}),
    ):  # fmt: skip
        changed = await change(credential, **more)
        assert (changed.status, changed.json["credential"]) == (200, credential)
        assert (await company.call("GET", f"/candidates/{candidate_id}")).status == 200
        kinds.append((await steps(lab, changed))[-3:])

    by_vault = [("key_vault", "get_secret"), ("entra", "issue_token"), ("resource_manager", "list_keys")]
    assert [kind[-2:] for kind in kinds] == [by_vault[1:]] * 4
    assert [by_vault[0] in kind for kind in kinds] == [True, True, False, True]
    log = (await company.must("GET", "/access_log?limit=100"))["data"]
    changes = [record for record in log if record["action"] == "tenants.write"]
    assert {(record["object_id"], record["actor"].partition(":")[0]) for record in changes} == {(company.id, "user")}
    assert len(changes) == 4


async def test_wrong_credential_changes_nothing(lab: Lab) -> None:
    company, other = await lab.company(), await lab.company()
    operator = await lab.client.token(roles=("Publisher.Operate",))
    path = f"/tenants/{company.id}"
    before = await lab.client.api("GET", path, operator)
    etag = {"If-Match": before.headers["ETag"]}
    wrong = {"credential": "secret", "credential_name": "no-such-secret"}

    refused = await lab.client.api("PATCH", path, operator, wrong, etag)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/credential_name")
    unread = await lab.client.api("PATCH", path, await lab.client.token(roles=("Publisher.Read",)), wrong, etag)
    assert unread.status == 403
    assert (await lab.client.api("PATCH", path, operator, wrong)).status == 428
    # Another tenant's daemon cannot open this one's account, so it is never taken.
    foreign = {name: other.registered[name] for name in ("credential", "credential_name", "daemon_client_id")}
    refused = await lab.client.api("PATCH", path, operator, foreign, etag)
    assert (refused.status, refused.json["type"]) == (503, "urn:bulkhead:problem:tenant_access_denied")

    after = await lab.client.api("GET", path, operator)
    assert (after.json, after.headers["ETag"]) == (before.json, before.headers["ETag"])
    await company.must("GET", "/packages")  # at once: what failed was another way to its account
