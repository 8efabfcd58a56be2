"""App settings and host.json of the Functions host."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from infra.local.host.errors import StartError
from infra.local.host.host_file import Seconds, read_host_file
from infra.local.host.logs import LEVELS, category, set_levels
from infra.local.host.settings import Settings
from infra.local.host.worker import RetryPolicy


def test_references_to_settings_are_replaced() -> None:
    # "Azure Functions triggers and bindings expressions"
    settings = Settings({"Queue": "jobs", "Part:Name": "x"})
    assert settings.resolve("%queue%-%Part__Name%", "f") == "jobs-x"
    with pytest.raises(StartError, match="Function 'f': '%Missing%' does not resolve to a value"):
        settings.resolve("%Missing%", "f")


@pytest.mark.parametrize(("name", "value"), [("AzureWebJobs.f.Disabled", "true"), ("AzureWebJobs_f_Disabled", "1")])
def test_a_setting_disables_a_function(name: str, value: str) -> None:
    # "How to disable functions in Azure Functions"
    assert Settings({name: value}).is_disabled("f")
    assert not Settings({name: value}).is_disabled("g")
    assert not Settings({name: "false"}).is_disabled("f")


def test_connections() -> None:
    # From "Azure Service Bus trigger for Azure Functions: connections"
    assert Settings({"Bus": "Endpoint=x"}).connection("Bus", "f") == "Endpoint=x"
    assert Settings({"AzureWebJobsBus": "Endpoint=x"}).connection("Bus", "f") == "Endpoint=x"
    assert Settings({"AzureWebJobsServiceBus": "Endpoint=y"}).connection("", "f") == "Endpoint=y"
    with pytest.raises(StartError, match=r"Function 'f'.*'Bus' does not exist"):
        Settings({}).connection("Bus", "f")


def host_file(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "host.json"
    path.write_text(json.dumps(content))
    return path


def test_host_json_defaults_are_azures(tmp_path: Path) -> None:
    # "host.json reference" and "Azure Service Bus bindings: host.json settings" (version 5)
    options = read_host_file(host_file(tmp_path, {"version": "2.0"}))
    assert options.extensions.http.route_prefix == "api"
    assert options.function_timeout == 300
    bus = options.extensions.service_bus
    assert bus.max_auto_lock_renewal_duration == 300
    assert (bus.max_concurrent_calls, bus.max_concurrent_sessions, bus.max_message_batch_size) == (16, 8, 1000)
    assert options.logging.log_level == {}


def test_host_json_is_read(tmp_path: Path) -> None:
    content = {
        "version": "2.0",
        "functionTimeout": "-1",
        "extensions": {"http": {"routePrefix": ""}, "serviceBus": {"sessionIdleTimeout": "00:00:02.5"}},
        "logging": {"logLevel": {"default": "Warning", "Function": "Error", "Function.f": "Debug"}},
    }
    options = read_host_file(host_file(tmp_path, content))
    assert (options.extensions.http.route_prefix, options.function_timeout) == ("", math.inf)
    assert options.extensions.service_bus.session_idle_timeout == 2.5
    set_levels(options.logging.log_level)
    names = ("Host.General", "Function.g", "Function.f.User", "Function.fx")
    levels = [category(name).getEffectiveLevel() for name in names]
    assert levels == [LEVELS[name] for name in ("Warning", "Error", "Debug", "Error")]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, "version"),
        ({"version": "2.0", "functionTimeout": "5 minutes"}, "functionTimeout"),
        ({"version": "2.0", "extensions": {"serviceBus": {"maxConcurrentCalls": 0}}}, "maxConcurrentCalls"),
        ({"version": "2.0", "extensions": {"serviceBus": {"autoCompleteMessages": False}}}, "autoCompleteMessages"),
        ({"version": "2.0", "extensions": []}, "extensions"),
        ({"version": "2.0", "logging": {"logLevel": {"default": "Loud"}}}, "default"),
    ],
)
def test_what_is_wrong_in_host_json_is_named(tmp_path: Path, content: Any, named: str) -> None:
    with pytest.raises(StartError, match=named):
        read_host_file(host_file(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "expected"), [("00:05:00", 300), ("1.00:00:01", 86401), ("00:00:00.25", 0.25), ("02:03", 7380)]
)
def test_time_spans(text: str, expected: float) -> None:
    assert Seconds.of(text) == expected


def test_how_long_a_retry_waits() -> None:
    # "Azure Functions error handling and retries": fixed delay; exponential backoff between two bounds
    fixed = RetryPolicy(3, 5, 5)
    assert [fixed.delay(attempt) for attempt in range(3)] == [5, 5, 5]
    growing = RetryPolicy(-1, 4, 30)
    assert [growing.delay(attempt) for attempt in (0, 1, 2, 3, 4, 10_000)] == [4, 8, 16, 30, 30, 30]
