"""Service Bus triggers.

Each expectation names its source: a page of Microsoft's documentation, a file of the host's or an extension's source
(Azure/azure-functions-host, Azure/azure-webjobs-sdk-extensions, Azure/azure-sdk-for-net), or an issue there.
"""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from azure.servicebus import ServiceBusMessage

from infra.local.host.supervisor import HostProcess, Supervisor
from tests.conformance.functions_host.bench import QUEUES, SESSIONS, Bench, free_port, wait_for

SERVED = ("overlong", "fatal", "lasting")  # by the host of its own


def test_a_message_with_its_metadata(bench: Bench) -> None:
    message = ServiceBusMessage(
        "text",
        message_id="m-1",
        subject="kind",
        correlation_id="c-1",
        content_type="application/jose",
        application_properties={"number": 7, "word": "x"},
    )
    bench.send("plain", message)
    seen = wait_for(lambda: [record for record in bench.records("plain") if record["message_id"] == "m-1"])[0]
    # ServiceBusTriggerBindingStrategy.cs: names and values; DeliveryCount is 1 at the first delivery
    # (AmqpMessageConverter.cs adds one to the header's)
    metadata = seen["metadata"]
    assert seen["body"] == "text"
    assert (seen["delivery_count"], seen["user_properties"]) == (1, {"number": 7, "word": "x"})
    assert {name: metadata[name] for name in ("MessageId", "Subject", "Label", "CorrelationId", "ContentType")} == {
        "MessageId": "m-1",
        "Subject": "kind",
        "Label": "kind",
        "CorrelationId": "c-1",
        "ContentType": "application/jose",
    }
    assert metadata["ApplicationProperties"] == metadata["UserProperties"] == {"number": 7, "word": "x"}
    assert metadata["SequenceNumber"] == seen["sequence_number"] > 0
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", metadata["LockToken"])
    # `EnqueuedTime.DateTime` has no kind, so that its JSON has no zone and the worker makes a naive datetime of it
    assert seen["enqueued_is_naive"]
    assert metadata["EnqueuedTime"] == metadata["EnqueuedTimeUtc"] + "+00:00"
    assert metadata["ExpiresAtUtc"] == "9999-12-31T23:59:59.9999999"  # DateTimeOffset.MaxValue
    assert "SessionId" not in metadata


def test_a_failed_message_is_abandoned_and_delivered_again(bench: Bench) -> None:
    # From "Azure Service Bus trigger: PeekLock behavior"
    bench.send("stumbles", ServiceBusMessage("x"))
    wait_for(lambda: len(bench.records("stumbles")) == 2)
    assert [record["delivery_count"] for record in bench.records("stumbles")] == [1, 2]


def test_no_more_calls_at_once_than_allowed(bench: Bench) -> None:
    # Source: host.json's maxConcurrentCalls
    bench.send("crowd", *(ServiceBusMessage("x") for _ in range(16)))
    wait_for(lambda: len(bench.records("crowd")) == 16)
    assert max(record["running"] for record in bench.records("crowd")) == 4


def test_a_lock_is_renewed_while_the_function_runs(bench: Bench) -> None:
    # host.json: maxAutoLockRenewalDuration; the queue's lock ends before the function does
    bench.send("long", ServiceBusMessage("x"))
    wait_for(lambda: bench.records("long"))
    assert [record["delivery_count"] for record in bench.records("long")] == [1]
    assert "could not be settled" not in bench.log()


@pytest.fixture(scope="module")
def hasty(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    """A host of its own, started again when it crashes, that hardly renews locks."""
    folder = tmp_path_factory.mktemp("hasty")
    shutil.copytree(bench.app, folder / "app")
    options = json.loads((bench.app / "host.json").read_text())
    options["extensions"]["serviceBus"]["maxAutoLockRenewalDuration"] = "00:00:00.5"
    (folder / "app" / "host.json").write_text(json.dumps(options))
    off = {f"AzureWebJobs.{name}.Disabled": str(name not in SERVED) for name in (*QUEUES, *SESSIONS)}

    async def start() -> Supervisor:
        supervisor = Supervisor(drain_seconds=1)
        await supervisor.start(folder / "app", {"hasty": free_port()}, bench.settings | off, folder)
        return supervisor

    supervisor = bench.run(start())
    yield supervisor.processes["hasty"]
    bench.run(supervisor.stop())


def test_a_lock_is_not_renewed_for_ever(bench: Bench, hasty: HostProcess) -> None:
    # Source: host.json's maxAutoLockRenewalDuration; "PeekLock behavior": settling after the lock's end is refused
    bench.send("overlong", ServiceBusMessage("x"))
    wait_for(lambda: bench.records("overlong"))
    wait_for(lambda: "Function 'overlong': a message could not be settled" in hasty.log_path.read_text())
    assert len(bench.journal("renew_lock", "overlong")) == 1
    assert bench.journal("complete", "overlong") == []


@pytest.mark.usefixtures("hasty")
def test_a_session_is_not_renewed_for_ever_and_lost_within_a_message(bench: Bench) -> None:
    # SessionReceiverManager.cs, RenewSessionLock: after maxAutoLockRenewalDuration renewals end, receiving goes on
    bench.send("lasting", *(ServiceBusMessage("x", session_id="s") for _ in range(6)))
    wait_for(lambda: bench.records("lasting", delivery_count=2))


def test_a_crash_in_the_middle_of_a_message(bench: Bench, hasty: HostProcess) -> None:
    # From "Azure Service Bus trigger: PeekLock behavior": what is neither completed nor abandoned comes again
    bench.send("fatal", ServiceBusMessage("x"))
    wait_for(lambda: len(bench.records("fatal")) == 2)
    first, second = bench.records("fatal")
    assert (first["delivery_count"], second["delivery_count"]) == (1, 2)
    assert second["pid"] == hasty.pid != first["pid"]
    assert "ended with status 9 and is started again" in hasty.log_path.read_text()


def test_a_batch(bench: Bench) -> None:
    # cardinality many: arrays named `...Array`, ToRpcStringArray leaves out empty entries
    messages = [ServiceBusMessage(f"b{n}", message_id=f"id-{n}", application_properties={"n": n}) for n in range(5)]
    bench.send("many", *messages)
    wait_for(lambda: sum(len(record["bodies"]) for record in bench.records("many")) == 5)
    batches = bench.records("many")
    assert len(batches) < 5
    assert [body for batch in batches for body in batch["bodies"]] == [f"b{n}" for n in range(5)]
    assert [one for batch in batches for one in batch["ids"]] == [f"id-{n}" for n in range(5)]
    assert [one["n"] for batch in batches for one in batch["user_properties"]] == [0, 1, 2, 3, 4]
    assert all(isinstance(number, int) for batch in batches for number in batch["sequence_numbers"])


def test_sessions_in_order_and_not_too_many_at_once(bench: Bench) -> None:
    # host.json: maxConcurrentSessions, sessionIdleTimeout; "Message sessions": first in, first out within a session
    names = [f"s{n}" for n in range(5)]
    for index in range(3):
        bench.send("sessions", *(ServiceBusMessage(str(index), session_id=name) for name in names))
    wait_for(lambda: len(bench.records("session ends")) == 15)
    for name in names:
        bodies = [one["body"] for one in bench.records("session starts") if one["session"] == name]
        assert bodies == ["0", "1", "2"]
    kinds = [json.loads(line) for line in bench.records_path.read_text().splitlines()]
    running: set[str] = set()
    most = 0
    for record in kinds:
        if record["kind"] == "session starts":
            running.add(record["session"])
        elif record["kind"] == "session ends":
            running.discard(record["session"])
        most = max(most, len(running))
    assert most == 2


def test_a_session_is_kept_until_it_has_been_idle(bench: Bench) -> None:
    # Source: host.json's sessionIdleTimeout
    bench.send("sessions", ServiceBusMessage("x", session_id="idle"))
    wait_for(lambda: bench.records("session ends", session="idle"))
    completed = wait_for(lambda: not bench.locked_messages("sessions") and bench.journal("complete", "sessions"))[-1]
    wait_for(lambda: not bench.holds_session("sessions", "idle"))
    assert (datetime.now(UTC) - datetime.fromisoformat(completed.time)).total_seconds() >= 0.3


def test_a_disabled_function_leaves_its_queue_alone(bench: Bench) -> None:
    bench.send("unserved", ServiceBusMessage("x"))
    bench.send("plain", ServiceBusMessage("after", message_id="m-after"))
    wait_for(lambda: [record for record in bench.records("plain") if record["message_id"] == "m-after"])
    assert bench.records("unserved") == []


def test_a_lost_connection_is_made_again(bench: Bench) -> None:
    port = int(re.search(r":(\d+);", bench.bus.connection_string)[1])  # type: ignore[index]

    async def restart() -> None:
        await bench.bus.stop()
        await bench.bus.start(port=port)
        await bench.open_senders()  # the old ones would pause before they try again

    started, ended = len(bench.records("long starts")), len(bench.records("long"))
    bench.send("long", ServiceBusMessage("x"))
    wait_for(lambda: len(bench.records("long starts")) > started)
    bench.run(restart())
    bench.send("plain", ServiceBusMessage("later", message_id="m-later"))
    wait_for(lambda: [record for record in bench.records("plain") if record["message_id"] == "m-later"])
    # what was running is settled over the new connection by its lock token (AmqpReceiver.cs)
    wait_for(lambda: len(bench.records("long")) > ended)
    restarted = bench.journal("open_management", "long")[-1].seq
    settled = wait_for(lambda: [entry for entry in bench.journal("complete", "long") if entry.seq > restarted])
    assert [entry.status for entry in settled] == [200]
