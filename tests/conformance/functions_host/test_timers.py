"""Timer triggers.

Each expectation names its source: a page of Microsoft's documentation, a file of the host's or an extension's source
(Azure/azure-functions-host, Azure/azure-webjobs-sdk-extensions, Azure/azure-sdk-for-net), or an issue there.
"""

import json
import re

from tests.conformance.functions_host.bench import Bench, wait_for


def test_a_timer_by_a_setting(bench: Bench) -> None:
    wait_for(lambda: len(bench.records("often")) >= 2)
    assert not any(record["past_due"] for record in bench.records("often"))
    assert re.search(r"Executing 'Functions\.often' \(Reason='Timer fired at [^']+', Id=[0-9a-f-]{36}\)", bench.log())


def test_a_timer_that_runs_on_startup(bench: Bench) -> None:
    # TimerListener.cs; TimerInfo's JSON
    first = wait_for(lambda: bench.records("yearly"))[0]
    assert not first["past_due"]
    assert first["schedule"] == {"AdjustForDST": True}
    assert first["status"]["Next"].endswith("-01-01T00:00:00+00:00")
    assert first["status"]["Last"] == "0001-01-01T00:00:00"


def test_a_missed_run_is_past_due(bench: Bench) -> None:
    # ScheduleMonitor.cs, CheckPastDueAsync; the status is kept
    assert wait_for(lambda: bench.records("hourly"))[0]["past_due"]
    status = wait_for(lambda: json.loads((bench.state / "timers" / "hourly.json").read_text()))
    assert status["Next"] > status["Last"] > "2026-01-01T01:00"


def test_a_retry_policy(bench: Bench) -> None:
    # "Azure Functions error handling and retries"
    assert bench.process is not None
    pid = bench.process.pid
    wait_for(lambda: len(bench.records("persistent", pid=pid)) == 3)
    seen = [(record["retry"], record["most"]) for record in bench.records("persistent", pid=pid)]
    assert seen == [(0, 2), (1, 2), (2, 2)]
