"""What can be set about how the stand-in plays Azure: durations, Azure's budgets, delays of propagation.

Budgets and delays are off at first, so that tests and demonstrations meet them only where they ask for them.
"""

from typing import Annotated

import msgspec

type Seconds = Annotated[float, msgspec.Meta(ge=0)]
type Budget = Annotated[int, msgspec.Meta(ge=1)] | None  # None: no limit


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings; the defaults are in force until PUT /settings says otherwise."""

    regenerate_seconds: Seconds = 2.0  # how long the regeneration of a key takes
    lock_seconds: Seconds = 60.0  # how long a message of Service Bus is locked; Azure's default
    list_keys_budget: Budget = None  # readings of keys in 5 minutes and account; on Azure 500
    resource_manager_budgets: bool = False  # Azure's token buckets, as budgets.py has them
    entra_budget: Budget = None  # tokens in a minute and application; Azure publishes no number
    cosmos_throughput: Budget = None  # RU a second and container; serverless accounts have up to 5,000
    role_delay_seconds: Seconds = 0.0  # until a role assignment is in force; on Azure up to 10 minutes
    credential_delay_seconds: Seconds = 0.0  # until a new application or credential is known everywhere
