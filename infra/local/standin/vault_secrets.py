"""The operations of Key Vault's data plane on secrets, once token and access are checked.

Sources: learn.microsoft.com/rest/api/keyvault/secrets (paths, bodies),
learn.microsoft.com/azure/key-vault/general/rest-error-codes (error bodies), .../secrets/about-secrets (limits, times).
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.standin.resources import LOCATION
from infra.local.standin.vaults import SecretVersion, Vault, Vaults, VaultSecret
from infra.local.standin.wire import Answer, Call, World

LARGEST_VALUE = 25 * 1024  # bytes
RECOVERABLE_DAYS = 90
_PAGE = 25
_CODES = {400: "BadParameter", 401: "Unauthorized", 403: "Forbidden", 404: "SecretNotFound", 409: "Conflict",
          429: "Throttled", 500: "InternalServerError", 501: "NotImplemented", 503: "ServiceUnavailable"}  # fmt: skip


@dataclass
class Refused(Exception):  # noqa: N818 - reads better where it is raised
    """An error answer; `inner` is the more exact code that Azure adds for some."""

    status: int
    message: str
    inner: str | None = None
    code: str | None = None

    def answer(self) -> Answer:
        """The refusal as Key Vault words it."""
        error: dict[str, Any] = {"code": self.code or _CODES.get(self.status, "Error"), "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        return Answer(self.status, {"error": error})


class SecretOperations:
    """Each takes (call, vault, name of the secret, rest of the path) and answers or raises Refused."""

    def __init__(self, world: World, vaults: Vaults) -> None:
        self._world = world
        self._vaults = vaults

    def _live(self, vault: Vault, name: str) -> VaultSecret:
        secret = self._vaults.secret(vault, name)
        if secret is None or secret.deleted is not None:
            raise _not_found(name)
        return secret

    def get(self, _call: Call, vault: Vault, name: str, rest: str) -> Answer:
        """One version's value and properties; the newest without a version."""
        secret = self._live(vault, name)
        version = secret.version(rest)
        if version is None:
            raise _not_found(f"{name}/{rest}")
        if not version.enabled:
            raise Refused(403, "Operation get is not allowed on a disabled secret.", "SecretDisabled")
        return Answer(200, {"value": version.value, **_properties(vault, secret, version)})

    def set(self, call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """A new version."""
        body = _body(call)
        value = body.get("value")
        if not isinstance(value, str):
            raise Refused(400, "The parameter 'value' is required.")
        if len(value.encode()) > LARGEST_VALUE:
            raise Refused(400, f"The secret's value is longer than {LARGEST_VALUE} bytes.")
        known = self._vaults.secret(vault, name)
        if known is not None and known.deleted is not None:
            raise Refused(
                409,
                f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in "
                "this state, the secret can only be recovered or purged.",
                "ObjectIsDeletedButRecoverable",
            )
        with self._world.storage.transaction():
            secret, version = self._vaults.add_version(
                vault, name, value, body.get("contentType"), tags=body.get("tags")
            )
            self._apply(vault, secret, version, {"attributes": body.get("attributes") or {}})
        return Answer(200, {"value": value, **_properties(vault, secret, version)})

    def update(self, call: Call, vault: Vault, name: str, rest: str) -> Answer:
        """Change a version's attributes, content type or tags."""
        secret = self._live(vault, name)
        version = secret.version(rest)
        if version is None:
            raise _not_found(f"{name}/{rest}")
        self._apply(vault, secret, version, _body(call))
        version.updated = int(self._world.now())
        self._vaults.save(vault, secret)
        return Answer(200, _properties(vault, secret, version))

    def _apply(self, vault: Vault, secret: VaultSecret, version: SecretVersion, body: Mapping[str, Any]) -> None:
        attributes = body.get("attributes") or {}
        version.enabled = attributes.get("enabled", version.enabled)
        version.not_before = attributes.get("nbf", version.not_before)
        version.expires = attributes.get("exp", version.expires)
        version.content_type = body.get("contentType", version.content_type)
        version.tags = body.get("tags", version.tags)
        self._vaults.save(vault, secret)

    def delete(self, _call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """Delete the secret; it can be recovered."""
        secret = self._live(vault, name)
        secret.deleted = int(self._world.now())
        self._vaults.save(vault, secret)
        return Answer(200, _deleted_properties(vault, secret))

    def get_deleted(self, _call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """A deleted secret's properties."""
        secret = self._vaults.secret(vault, name)
        if secret is None or secret.deleted is None:
            raise Refused(404, f"Deleted Secret not found: {name}")
        return Answer(200, _deleted_properties(vault, secret))

    def recover(self, _call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """Undo a deletion."""
        secret = self._vaults.secret(vault, name)
        if secret is None or secret.deleted is None:
            raise Refused(404, f"Deleted Secret not found: {name}")
        secret.deleted = None
        self._vaults.save(vault, secret)
        return Answer(200, _properties(vault, secret, secret.versions[-1]))

    def purge(self, call: Call, vault: Vault, name: str, rest: str) -> Answer:
        """Refused, because purge protection is on.

        Source of the words: github.com/Azure/sap-automation/pull/200.
        """
        self.get_deleted(call, vault, name, rest)
        raise Refused(
            403,
            'Operation "purge" is not allowed because purge protection is enabled for this vault. Key Vault service '
            f"will automatically purge it after the retention period has passed.\r\nVault: {vault.name};"
            f"location={LOCATION}",
        )

    def list(self, call: Call, vault: Vault, _name: str, _rest: str) -> Answer:
        """A page of the secrets that are not deleted."""
        live = [secret for secret in self._vaults.secrets(vault) if secret.deleted is None]
        items = [_properties(vault, secret, secret.versions[-1], with_version=False) for secret in live]
        return _page(call, vault, items)

    def list_deleted(self, call: Call, vault: Vault, _name: str, _rest: str) -> Answer:
        """A page of the deleted secrets."""
        gone = [secret for secret in self._vaults.secrets(vault) if secret.deleted is not None]
        return _page(call, vault, [_deleted_properties(vault, secret, with_version=False) for secret in gone])

    def list_versions(self, call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """A page of one secret's versions."""
        secret = self._live(vault, name)
        return _page(call, vault, [_properties(vault, secret, version) for version in secret.versions])


def _body(call: Call) -> dict[str, Any]:
    try:
        body = call.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "The request body is not a JSON object.")
    return body


def _not_found(name: str) -> Refused:
    return Refused(
        404,
        f"A secret with (name/id) {name} was not found in this key vault. If you recently deleted this secret you may "
        "be able to recover it using the correct recovery command. For help resolving this issue, please see "
        "https://go.microsoft.com/fwlink/?linkid=2125182",
    )


def _properties(
    vault: Vault, secret: VaultSecret, version: SecretVersion, *, with_version: bool = True
) -> dict[str, Any]:
    """A secret's bundle without its value. Lists of secrets give ids without version."""
    attributes: dict[str, Any] = {
        "enabled": version.enabled,
        "created": version.created,
        "updated": version.updated,
        "recoveryLevel": "Recoverable",  # purge protection is on
        "recoverableDays": RECOVERABLE_DAYS,
    }
    if version.not_before is not None:
        attributes["nbf"] = version.not_before
    if version.expires is not None:
        attributes["exp"] = version.expires
    identifier = f"{vault.url}/secrets/{secret.name}" + (f"/{version.id}" if with_version else "")
    bundle: dict[str, Any] = {"id": identifier, "attributes": attributes}
    if version.content_type is not None:
        bundle["contentType"] = version.content_type
    if version.tags:
        bundle["tags"] = version.tags
    return bundle


def _deleted_properties(vault: Vault, secret: VaultSecret, *, with_version: bool = True) -> dict[str, Any]:
    deleted = secret.deleted or 0
    return {
        "recoveryId": f"{vault.url}/deletedsecrets/{secret.name}",
        "deletedDate": deleted,
        "scheduledPurgeDate": deleted + RECOVERABLE_DAYS * 86_400,
        **_properties(vault, secret, secret.versions[-1], with_version=with_version),
    }


def _page(call: Call, vault: Vault, items: list[dict[str, Any]]) -> Answer:
    """One page, `maxresults` long, with a link to the next."""
    try:
        size = int(call.query.get("maxresults", _PAGE))
        start = int(json.loads(base64.urlsafe_b64decode(call.query["$skiptoken"]))) if "$skiptoken" in call.query else 0
    except ValueError:
        raise Refused(400, "maxresults or $skiptoken is not valid.") from None
    if not 1 <= size <= _PAGE:
        raise Refused(400, f"maxresults must be between 1 and {_PAGE}.")
    following = start + size
    link = None
    if following < len(items):
        mark = base64.urlsafe_b64encode(json.dumps(following).encode()).decode()
        version = call.query["api-version"]
        link = f"{vault.url}{call.path}?api-version={version}&$skiptoken={mark}&maxresults={size}"
    return Answer(200, {"value": items[start:following], "nextLink": link})
