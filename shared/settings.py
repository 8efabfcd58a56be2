"""Settings of the application, from the environment and nowhere else."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from shared.core.caller import ClientId
from shared.core.ids import DirectoryId
from shared.core.lease import LeaseLimits
from shared.core.secret import Secret
from shared.core.text import GUID

type Plane = Literal["data", "control", "all"]

SERVICE_BUS = "ServiceBusConnection"
"""Name of the connection, by the Functions convention: NAME, or NAME__fullyQualifiedNamespace with an identity."""


class SettingsError(Exception):
    """Everything that is wrong with the settings, at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("settings: " + "; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator decides. docs/operations.md describes each."""

    plane: Plane
    publisher_directory_id: DirectoryId
    api_audience: str
    front_end_client_ids: frozenset[ClientId]
    registry_endpoint: str
    vault_url: str
    identity_client_id: str
    control_identity_client_id: str | None  # needed on the control plane
    service_bus_connection_string: Secret | None  # local stack only
    service_bus_namespace: str | None
    proxy: str | None
    lease_limits: LeaseLimits
    federated_daemons: bool  # whether daemons may trust the managed identity instead of having a secret
    share_leases: bool
    instances: int  # most instances, over all functions, that open tenants' accounts at a time
    accounts: int  # most tenants' accounts that a process keeps connections to

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read and check all settings. Raises SettingsError with every problem."""
        reader = _Reader(env)
        plane = reader.choice("BULKHEAD_PLANE", get_args(Plane.__value__))
        connection = env.get(SERVICE_BUS)
        namespace = env.get(f"{SERVICE_BUS}__fullyQualifiedNamespace")
        if not connection and not namespace:
            reader.problems.append(f"{SERVICE_BUS}__fullyQualifiedNamespace is missing")
        clients = [part.strip() for part in reader.text("BULKHEAD_FRONT_END_CLIENT_IDS").split(",") if part.strip()]
        if not all(re.fullmatch(GUID, client) for client in clients):
            reader.problems.append("BULKHEAD_FRONT_END_CLIENT_IDS must be client ids, separated by commas")
        settings = cls(
            plane=plane,  # type: ignore[arg-type]
            publisher_directory_id=DirectoryId(reader.guid("BULKHEAD_PUBLISHER_DIRECTORY_ID")),
            api_audience=reader.guid("BULKHEAD_API_AUDIENCE"),
            front_end_client_ids=frozenset(ClientId(client.lower()) for client in clients),
            registry_endpoint=reader.url("BULKHEAD_REGISTRY_ENDPOINT"),
            vault_url=reader.url("BULKHEAD_VAULT_URL").rstrip("/"),
            identity_client_id=reader.guid("BULKHEAD_IDENTITY_CLIENT_ID"),
            control_identity_client_id=(
                reader.guid("BULKHEAD_CONTROL_IDENTITY_CLIENT_ID") if plane in ("control", "all") else None
            ),
            service_bus_connection_string=Secret(connection) if connection else None,
            service_bus_namespace=namespace,
            proxy=env.get("HTTPS_PROXY") or None,
            lease_limits=LeaseLimits(
                max_age=reader.seconds("BULKHEAD_LEASE_MAX_AGE", default=60, most=300),
                keep_key=reader.seconds("BULKHEAD_KEEP_KEY_AT_MOST", default=120, most=600),
                keep_token=reader.seconds("BULKHEAD_KEEP_TOKEN_AT_MOST", default=300, most=3600),
                patience=reader.seconds("BULKHEAD_LEASE_PATIENCE", default=20, most=200),
            ),
            federated_daemons=reader.choice("BULKHEAD_FEDERATED_DAEMONS", ("on", "off"), default="off") == "on",
            share_leases=reader.choice("BULKHEAD_SHARE_LEASES", ("on", "off"), default="on") == "on",
            instances=reader.count("BULKHEAD_INSTANCES_AT_MOST", default=40, most=1000),
            accounts=reader.count("BULKHEAD_ACCOUNTS_AT_MOST", default=32, most=1000),
        )
        if reader.problems:
            raise SettingsError(reader.problems)
        return settings


class _Reader:
    """Reads single settings and notes what is wrong with them. Values are not repeated in problems."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        value = self._env.get(name, "").strip()
        if not value:
            self.problems.append(f"{name} is missing")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], *, default: str | None = None) -> str:
        value = self._env.get(name, "").strip() or default or self.text(name)
        if value and value not in allowed:
            self.problems.append(f"{name} must be one of {', '.join(allowed)}")
        return value

    def guid(self, name: str) -> str:
        value = self.text(name)
        if value and not re.fullmatch(GUID, value):
            self.problems.append(f"{name} must be a GUID")
        return value.lower()

    def url(self, name: str) -> str:
        value = self.text(name)
        try:
            usable = urlsplit(value).scheme == "https" and bool(urlsplit(value).hostname)
        except ValueError:  # its text quotes the value
            usable = False
        if value and not usable:
            self.problems.append(f"{name} must be an https URL")
        return value

    def seconds(self, name: str, *, default: float, most: float) -> float:
        value = self._env.get(name, "").strip()
        if not value:
            return default
        if not re.fullmatch(r"\d+(\.\d+)?", value) or not 0 < float(value) <= most:
            self.problems.append(f"{name} must be seconds, more than 0 and at most {most:g}")
            return default
        return float(value)

    def count(self, name: str, *, default: int, most: int) -> int:
        value = self._env.get(name, "").strip()
        if not value:
            return default
        if not re.fullmatch(r"\d{1,6}", value) or not 1 <= int(value) <= most:
            self.problems.append(f"{name} must be a number from 1 to {most}")
            return default
        return int(value)
