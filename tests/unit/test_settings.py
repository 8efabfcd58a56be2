import traceback
from typing import Any

import pytest

from shared.settings import Settings, SettingsError
from tests.fakes import AUDIENCE, FRONT_END, PUBLISHER
from tests.world import ENV

CANARY = "Zq7canary"
CONNECTION = f"Endpoint=sb://localhost;SharedAccessKeyName=x;SharedAccessKey={CANARY};UseDevelopmentEmulator=true"


def problems(**changes: Any) -> Any:
    env = {name: value for name, value in (ENV | changes).items() if value is not None}
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)
    text = "".join(traceback.TracebackException.from_exception(caught.value).format())
    assert CANARY not in text
    assert str(caught.value) == "settings: " + "; ".join(caught.value.problems)
    return caught.value.problems


def test_a_complete_environment() -> None:
    settings = Settings.from_env(ENV)
    assert settings.plane == "all"
    assert (settings.publisher_directory_id, settings.api_audience) == (PUBLISHER, AUDIENCE)
    assert settings.front_end_client_ids == {FRONT_END}
    assert settings.vault_url == "https://bulkhead-kv.vault.azure.net"
    assert settings.service_bus_namespace == "bulkhead.servicebus.windows.net"
    assert settings.service_bus_connection_string is settings.proxy is None
    assert (settings.lease_limits.max_age, settings.federated_daemons) == (60, False)


def test_an_empty_environment_names_everything_that_is_missing() -> None:
    missing = {problem.split(" ")[0] for problem in problems(**dict.fromkeys(ENV))}
    # without a plane it is not known whether the control identity is needed
    assert missing == set(ENV) - {"BULKHEAD_CONTROL_IDENTITY_CLIENT_ID"}


def test_blank_is_missing() -> None:
    assert problems(BULKHEAD_API_AUDIENCE="  ") == ["BULKHEAD_API_AUDIENCE is missing"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BULKHEAD_PLANE", CANARY),
        ("BULKHEAD_PLANE", "DATA"),
        ("BULKHEAD_PUBLISHER_DIRECTORY_ID", CANARY),
        ("BULKHEAD_PUBLISHER_DIRECTORY_ID", PUBLISHER + "0"),
        ("BULKHEAD_API_AUDIENCE", f"api://{AUDIENCE}"),
        ("BULKHEAD_FRONT_END_CLIENT_IDS", f"{FRONT_END},{CANARY}"),
        ("BULKHEAD_REGISTRY_ENDPOINT", f"http://{CANARY}.example"),
        ("BULKHEAD_REGISTRY_ENDPOINT", CANARY),
        ("BULKHEAD_VAULT_URL", "https://"),
        ("BULKHEAD_VAULT_URL", f"https://[{CANARY}"),
        ("BULKHEAD_IDENTITY_CLIENT_ID", CANARY),
        ("BULKHEAD_CONTROL_IDENTITY_CLIENT_ID", CANARY),
        ("BULKHEAD_CONTROL_IDENTITY_CLIENT_ID", None),
        ("BULKHEAD_LEASE_MAX_AGE", "0"),
        ("BULKHEAD_LEASE_MAX_AGE", "301"),
        ("BULKHEAD_LEASE_MAX_AGE", "-1"),
        ("BULKHEAD_LEASE_MAX_AGE", "1e2"),
        ("BULKHEAD_LEASE_MAX_AGE", "inf"),
        ("BULKHEAD_LEASE_MAX_AGE", CANARY),
        ("BULKHEAD_KEEP_KEY_AT_MOST", "601"),
        ("BULKHEAD_INSTANCES_AT_MOST", "0"),
        ("BULKHEAD_INSTANCES_AT_MOST", "1.5"),
        ("BULKHEAD_ACCOUNTS_AT_MOST", "1001"),
        ("BULKHEAD_SHARE_LEASES", CANARY),
        ("BULKHEAD_FEDERATED_DAEMONS", "true"),
        ("ServiceBusConnection__fullyQualifiedNamespace", None),
    ],
)
def test_one_faulty_setting_is_one_problem_that_names_it(name: str, value: Any) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(name)


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(BULKHEAD_PLANE=CANARY, BULKHEAD_VAULT_URL=CANARY, BULKHEAD_LEASE_MAX_AGE=CANARY)) == 3


def test_the_data_plane_needs_no_control_identity() -> None:
    env = ENV | {"BULKHEAD_PLANE": "data"}
    assert Settings.from_env(env).control_identity_client_id is None
    del env["BULKHEAD_CONTROL_IDENTITY_CLIENT_ID"]
    assert Settings.from_env(env).plane == "data"


def test_ids_are_read_without_case() -> None:
    settings = Settings.from_env(
        ENV | {"BULKHEAD_API_AUDIENCE": AUDIENCE.upper(), "BULKHEAD_FRONT_END_CLIENT_IDS": f" {FRONT_END.upper()} ,"}
    )
    assert settings.api_audience == AUDIENCE
    assert settings.front_end_client_ids == {FRONT_END}


def test_the_connection_string_is_a_secret() -> None:
    settings = Settings.from_env(ENV | {"ServiceBusConnection": CONNECTION})
    assert settings.service_bus_connection_string.reveal() == CONNECTION
    assert CANARY not in repr(settings)


def test_limits_may_be_set() -> None:
    settings = Settings.from_env(ENV | {"BULKHEAD_LEASE_MAX_AGE": "300", "BULKHEAD_INSTANCES_AT_MOST": "1000"})
    assert (settings.lease_limits.max_age, settings.instances) == (300, 1000)
