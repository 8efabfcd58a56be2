"""host.json: the options that this host honours, with Azure's defaults. Source: "host.json reference"."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from infra.local.host.errors import StartError

type Level = Literal["Trace", "Debug", "Information", "Warning", "Error", "Critical", "None"]
LEVELS: tuple[Level, ...] = ("Trace", "Debug", "Information", "Warning", "Error", "Critical", "None")

_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?\Z")
_EXTENSION_DEFAULT_TIMEOUT = 300.0  # Consumption plans; others 30 minutes


@dataclass(slots=True, frozen=True)
class ServiceBusOptions:
    """`extensions.serviceBus`, times in seconds. Source: "Azure Service Bus bindings: host.json settings"."""

    max_auto_lock_renewal: float = 300.0
    max_concurrent_calls: int = 16
    max_concurrent_sessions: int = 8
    max_message_batch_size: int = 1000
    session_idle_timeout: float = 60.0  # unset means the client's try time-out, one minute


@dataclass(slots=True, frozen=True)
class HostOptions:
    """The options of one host."""

    route_prefix: str = "api"
    function_timeout: float | None = _EXTENSION_DEFAULT_TIMEOUT  # seconds; None: unlimited
    service_bus: ServiceBusOptions = field(default_factory=ServiceBusOptions)
    log_levels: dict[str, Level] = field(default_factory=dict)

    def log_level(self, category: str) -> Level:
        """The lowest level written for a category: the longest configured prefix decides, else Information."""
        best = max((name for name in self.log_levels if _covers(name, category)), key=len, default="default")
        return self.log_levels.get(best, "Information")


def read_host_file(path: Path) -> HostOptions:
    """Read host.json. Raises StartError when it is missing or wrong, naming the property."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StartError(f"host.json is missing in {path.parent}.") from None
    except ValueError as error:
        raise StartError(f"host.json can't be parsed: {error}") from None
    if not isinstance(content, dict) or content.get("version") != "2.0":
        raise StartError("host.json: 'version' must be \"2.0\".")
    http = _section(content, "extensions", "http")
    bus = _section(content, "extensions", "serviceBus")
    if bus.get("autoCompleteMessages", True) is not True:
        raise StartError("host.json: 'autoCompleteMessages' must be true: a Python function can't settle messages.")
    default = ServiceBusOptions()
    options = ServiceBusOptions(
        max_auto_lock_renewal=_seconds(bus, "maxAutoLockRenewalDuration", default.max_auto_lock_renewal),
        max_concurrent_calls=_whole(bus, "maxConcurrentCalls", default.max_concurrent_calls, 1),
        max_concurrent_sessions=_whole(bus, "maxConcurrentSessions", default.max_concurrent_sessions, 1),
        max_message_batch_size=_whole(bus, "maxMessageBatchSize", default.max_message_batch_size, 1),
        session_idle_timeout=_seconds(bus, "sessionIdleTimeout", default.session_idle_timeout),
    )
    timeout: float | None = _EXTENSION_DEFAULT_TIMEOUT
    if content.get("functionTimeout") == "-1":
        timeout = None
    elif "functionTimeout" in content:
        timeout = _seconds(content, "functionTimeout", 0.0)
    levels = _section(content, "logging", "logLevel")
    for category, level in levels.items():
        if level not in LEVELS:
            raise StartError(f"host.json: logging.logLevel.{category} must be one of {', '.join(LEVELS)}.")
    return HostOptions(str(http.get("routePrefix", "api")).strip("/"), timeout, options, levels)


def seconds(text: str) -> float:
    """A .NET TimeSpan (`d.hh:mm:ss.fffffff`, `hh:mm`) in seconds. Raises ValueError."""
    found = _TIME_SPAN.match(text.strip())
    if not found or int(found[2]) > 23 or int(found[3]) > 59 or int(found[4] or 0) > 59:
        raise ValueError(text)
    days, hours, minutes, whole = (int(part or 0) for part in found.group(1, 2, 3, 4))
    return days * 86400 + hours * 3600 + minutes * 60 + whole + float(f"0.{found[5] or 0}")


def _covers(prefix: str, category: str) -> bool:
    return category == prefix or category.startswith(prefix + ".")


def _section(content: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        content = content.get(name, {})
        if not isinstance(content, dict):
            raise StartError(f"host.json: '{name}' must be an object.")
    return content


def _whole(section: dict[str, Any], name: str, default: int, least: int) -> int:
    value = section.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise StartError(f"host.json: '{name}' must be a whole number of at least {least}.")
    return value


def _seconds(section: dict[str, Any], name: str, default: float) -> float:
    if name not in section:
        return default
    try:
        return seconds(section[name])
    except (ValueError, AttributeError):
        raise StartError(f"host.json: '{name}' must be a time span such as \"00:05:00\".") from None
