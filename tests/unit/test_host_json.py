"""host.json and the example of settings, held to what the application takes for granted."""

import json
import re
from pathlib import Path
from typing import Any

from infra.local.host.host_file import read_host_file
from shared.entrypoints import jobs
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
HOST = read_host_file(ROOT / "host.json")
EXAMPLE: dict[str, Any] = json.loads((ROOT / "local.settings.example.json").read_text())["Values"]


def test_what_is_taken_for_ended_has_ended() -> None:
    """Functions answers the caller after 230 seconds, but lets the function run for as long as host.json says."""
    assert HOST.function_timeout <= 230
    assert HOST.function_timeout < jobs._UNWRITTEN_AFTER


def test_the_lock_of_a_message_is_renewed_for_as_long_as_a_job_may_run() -> None:
    assert HOST.extensions.service_bus.max_auto_lock_renewal_duration > HOST.function_timeout


def test_no_event_is_left_out_of_a_sample() -> None:
    """Events are traces in Application Insights, and some of them are the only word on what somebody did."""
    sampling = json.loads((ROOT / "host.json").read_text())["logging"]["applicationInsights"]["samplingSettings"]
    assert "Trace" in sampling["excludedTypes"].split(";")


def test_the_example_names_every_setting_with_its_default() -> None:
    names = set(re.findall(r'"(BULKHEAD_[A-Z_]+)"', (ROOT / "shared" / "settings.py").read_text()))
    assert {name for name in EXAMPLE if name.startswith("BULKHEAD_")} == names
    needed = {name: value for name, value in EXAMPLE.items() if name not in _OPTIONAL}
    assert Settings.from_env(EXAMPLE) == Settings.from_env(needed)


_OPTIONAL = {
    "BULKHEAD_FEDERATED_DAEMONS", "BULKHEAD_SHARE_LEASES", "BULKHEAD_INSTANCES_AT_MOST", "BULKHEAD_LEASE_MAX_AGE",
    "BULKHEAD_KEEP_KEY_AT_MOST", "BULKHEAD_KEEP_TOKEN_AT_MOST", "BULKHEAD_LEASE_PATIENCE",
}  # fmt: skip
