"""host.json: the options that this host honours, with Azure's defaults. Source: "host.json reference"."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from infra.local.host.errors import StartError
from infra.local.host.logs import LEVELS

_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?\Z")

type _Count = Annotated[int, msgspec.Meta(ge=1)]


class Seconds(float):
    """What the file says as a time span."""

    __slots__ = ()

    @classmethod
    def of(cls, text: object) -> "Seconds":
        """A .NET TimeSpan (`d.hh:mm:ss.fffffff`, `hh:mm`), or `-1` for no limit. Raises ValueError."""
        found = _TIME_SPAN.match(f"{text}".strip())
        if text == "-1":
            return cls(math.inf)
        if not found or int(found[2]) > 23 or int(found[3]) > 59 or int(found[4] or 0) > 59:
            raise ValueError('must be a time span such as "00:05:00"')
        days, hours, minutes, whole = (int(part or 0) for part in found.group(1, 2, 3, 4))
        return cls(days * 86400 + hours * 3600 + minutes * 60 + whole + float(f"0.{found[5] or 0}"))


class _Section(msgspec.Struct, rename="camel", frozen=True):
    pass


class ServiceBusOptions(_Section, frozen=True):
    """`extensions.serviceBus`. Source: "Azure Service Bus bindings: host.json settings"."""

    auto_complete_messages: bool = True
    max_auto_lock_renewal_duration: Seconds = Seconds(300)
    max_concurrent_calls: _Count = 16
    max_concurrent_sessions: _Count = 8
    max_message_batch_size: _Count = 1000
    session_idle_timeout: Seconds = Seconds(60)  # unset means the client's try time-out, one minute


class _Http(_Section, frozen=True):
    route_prefix: str = "api"


class _Extensions(_Section, frozen=True):
    http: _Http = _Http()
    service_bus: ServiceBusOptions = ServiceBusOptions()


class _Logging(_Section, frozen=True):
    log_level: dict[str, str] = {}


class HostOptions(_Section, frozen=True):
    """The options of one host."""

    version: Literal["2.0"]
    function_timeout: Seconds = Seconds(300)  # Consumption plans; others 30 minutes
    extensions: _Extensions = _Extensions()
    logging: _Logging = _Logging()


def read_host_file(path: Path) -> HostOptions:
    """Read host.json. Raises StartError when it is missing or wrong, naming the property."""
    try:
        options = msgspec.json.decode(path.read_bytes(), type=HostOptions, dec_hook=_convert)
    except FileNotFoundError:
        raise StartError(f"host.json is missing in {path.parent}.") from None
    except msgspec.DecodeError as error:
        raise StartError(f"host.json: {error}") from None
    if not options.extensions.service_bus.auto_complete_messages:
        raise StartError("host.json: 'autoCompleteMessages' must be true: a Python function can't settle messages.")
    for category, level in options.logging.log_level.items():
        if level not in LEVELS:
            raise StartError(f"host.json: logging.logLevel.{category} must be one of {', '.join(LEVELS)}.")
    return options


def _convert(_kind: type, value: Any) -> Seconds:
    return Seconds.of(value)
