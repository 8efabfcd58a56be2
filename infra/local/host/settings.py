"""App settings: `%Name%` in bindings, `AzureWebJobs.<Function>.Disabled`, and connections by Azure's convention."""

import re
from collections.abc import Mapping

from infra.local.host.errors import StartError

_REFERENCE = re.compile(r"%([^%]+)%")
_TRUE = {"1", "true"}


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

    def connection(self, name: str, function: str) -> str:
        """The connection string that a binding names. Raises StartError when no setting defines it.

        `Name` or `AzureWebJobsName`. An identity (`Name__fullyQualifiedNamespace`) serves on Azure only.
        Source: "Azure Service Bus trigger for Azure Functions: connections".
        """
        name = name or "ServiceBus"
        if found := self.get(name) or self.get(f"AzureWebJobs{name}"):
            return found
        raise StartError(
            f"Function '{function}': Microsoft.Azure.WebJobs.ServiceBus: Service Bus account connection string "
            f"'{name}' does not exist or is empty."
        )


def _key(name: str) -> str:
    return name.replace(":", "__").lower()
