"""App settings: `%Name%` in bindings, `AzureWebJobs.<Function>.Disabled`, and connections by Azure's convention."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from infra.local.host.errors import StartError

_REFERENCE = re.compile(r"%([^%]+)%")
_TRUE = {"1", "true"}


@dataclass(slots=True, frozen=True)
class Connection:
    """How to reach a Service Bus namespace: exactly one of a connection string and a host name with an identity."""

    connection_string: str = ""
    namespace: str = ""
    client_id: str = ""  # a user-assigned identity; empty: the default credential decides


class Settings:
    """The settings of one application: its environment. Names match without regard to case, `:` equals `__`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._values = {_key(name): value for name, value in environment.items()}

    def get(self, name: str, default: str = "") -> str:
        """The setting's value, or `default`."""
        return self._values.get(_key(name), default)

    def resolve(self, text: str, function: str) -> str:
        """Replace every `%Name%` by the setting of that name. Raises StartError for one that is missing.

        Source: "Azure Functions triggers and bindings expressions: binding expressions - app settings".
        """

        def value(match: re.Match[str]) -> str:
            found = self.get(match[1])
            if not found:
                raise StartError(f"Function '{function}': '%{match[1]}%' does not resolve to a value.")
            return found

        return _REFERENCE.sub(value, text)

    def is_disabled(self, function: str) -> bool:
        """Whether `AzureWebJobs.<Function>.Disabled` is set (with `_` for `.` as on Linux plans, too).

        Source: "How to disable functions in Azure Functions".
        """
        for form in (f"AzureWebJobs.{function}.Disabled", f"AzureWebJobs_{function}_Disabled"):
            if self.get(form).strip().lower() in _TRUE:
                return True
        return False

    def connection(self, name: str, function: str) -> Connection:
        """The connection that a binding names. Raises StartError when no setting defines it.

        Either `Name` (or `AzureWebJobsName`) is a connection string, or `Name__fullyQualifiedNamespace` names the
        host and an identity is used. Source: "Azure Service Bus trigger for Azure Functions: connections".
        """
        name = name or "ServiceBus"
        for prefix in ("", "AzureWebJobs"):
            if text := self.get(prefix + name):
                return Connection(connection_string=text)
            if namespace := self.get(f"{prefix}{name}__fullyQualifiedNamespace"):
                return Connection(namespace=namespace, client_id=self.get(f"{prefix}{name}__clientId"))
        raise StartError(
            f"Function '{function}': Microsoft.Azure.WebJobs.ServiceBus: Service Bus account connection string or "
            f"'{name}__fullyQualifiedNamespace' is missing: the setting '{name}' does not exist or is empty."
        )


def _key(name: str) -> str:
    return name.replace(":", "__").lower()
