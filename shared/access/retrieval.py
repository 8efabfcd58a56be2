"""Steps 1 to 4: from the managed identity to the keys of one tenant's account. Read this first.

1. the managed identity reads the daemon's credential from Key Vault,
2. with it Entra ID issues a token of the daemon application,
3. with the token Resource Manager is asked for the account's keys,
4. and answers with them.

(5, the work on the account's data, is the invocation's own.) Nothing is kept here but, when the budget says so, the
daemon's token.
"""

import asyncio
from dataclasses import dataclass

from shared.access.budget import Budget
from shared.access.failures import REACTIONS, AccessError, Failure
from shared.access.models import Target
from shared.access.ports import IdentityProvider, ResourceManager, Vault
from shared.core.audit import KeySource
from shared.core.clock import Clock
from shared.core.lease import Keyring
from shared.core.secret import Secret

_LONGEST_PAUSE = 3.0  # seconds; whoever is told to wait longer is told so, instead of being kept


class Steps:
    """The three services behind steps 1 to 4, and the clock by which failures are waited out."""

    def __init__(
        self,
        vault: Vault,
        identity_provider: IdentityProvider,
        resource_manager: ResourceManager,
        clock: Clock,
    ) -> None:
        self._vault = vault
        self._identity_provider = identity_provider
        self._resource_manager = resource_manager
        self._clock = clock

    async def retrieve(self, target: Target, budget: Budget, kept: "KeptToken") -> tuple[Keyring, KeySource]:
        """The account's keys, and whether a kept token shortened the way. Raises AccessError.

        Each attempt fetches everything anew, so a credential or a right that changed meanwhile is seen.
        """
        attempt = 1
        while True:
            try:
                return await self._once(target, budget, kept)
            except AccessError as error:
                reaction = REACTIONS[error.failure]
                pause = max(reaction.pause * 2 ** (attempt - 1), error.retry_after or 0.0)
                if attempt >= reaction.attempts or pause > _LONGEST_PAUSE:
                    raise
            await asyncio.sleep(pause)
            attempt += 1

    async def _once(self, target: Target, budget: Budget, kept: "KeptToken") -> tuple[Keyring, KeySource]:
        _require(budget.wait(self._clock.monotonic()))  # else steps 1 and 2 would be taken in vain
        token = kept.take(self._clock.monotonic())
        if token is not None:
            try:
                return await self._list(target, budget, token, kept), "retained_token"
            except AccessError as error:
                if error.failure is not Failure.DENIED:
                    raise  # else the daemon may have lost its right with this token only: go the whole way
        credential = await self._vault.read(target.daemon.credential)  # 1
        try:
            secret = await self._identity_provider.take_on(target.daemon, credential)  # 2
        finally:
            credential.forget()
        token = DaemonToken(secret, self._clock.monotonic())
        return await self._list(target, budget, token, kept), "retrieved"

    async def _list(self, target: Target, budget: Budget, token: "DaemonToken", kept: "KeptToken") -> Keyring:
        """Ask for the keys, and forget the token unless the budget wants it kept."""
        try:
            _require(budget.spend(self._clock.monotonic()))
            keys = await self._resource_manager.list_keys(target.account, token.secret)  # 3, 4
        except BaseException:
            token.secret.forget()
            raise
        kept.put(token, self._clock.monotonic(), budget)
        return keys


def _require(wait: float) -> None:
    """Raise AccessError when the budget allows a listing only after `wait` seconds."""
    if wait > 0:
        raise AccessError(3, Failure.OVER_BUDGET, retry_after=wait)


@dataclass(frozen=True, slots=True)
class DaemonToken:
    """A token of the daemon's, and when it was issued (monotonic)."""

    secret: Secret
    issued: float


class KeptToken:
    """The daemon's token, for as long as the budget wants it kept and never older than `limit` seconds."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._token: DaemonToken | None = None
        self._until = 0.0

    def put(self, token: DaemonToken, now: float, budget: Budget) -> None:
        """Keep `token` if need be, else forget it."""
        self.drop()
        self._token = token
        self._until = min(now + budget.keep_token(now), token.issued + self._limit)
        self.remaining(now)

    def take(self, now: float) -> DaemonToken | None:
        """The kept token, out of keeping."""
        token = self._token if self.remaining(now) > 0 else None
        self._token = None
        return token

    def remaining(self, now: float) -> float:
        """Seconds for which a token is still kept. One that is not is forgotten."""
        if self._token is not None and now >= self._until:
            self.drop()
        return self._until - now if self._token is not None else 0.0

    def drop(self) -> None:
        """Forget the token."""
        if self._token is not None:
            self._token.secret.forget()
        self._token = None
