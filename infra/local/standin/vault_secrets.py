"""The operations of Key Vault's data plane on secrets, once token and access are checked.

Sources: learn.microsoft.com/rest/api/keyvault/secrets (paths, bodies),
learn.microsoft.com/azure/key-vault/general/rest-error-codes (error bodies), .../secrets/about-secrets (limits, times).
"""

import base64
from dataclasses import dataclass, field
from typing import Any

import msgspec

from infra.local.standin.resources import LOCATION
from infra.local.standin.vaults import SecretVersion, Vault, Vaults, VaultSecret
from infra.local.standin.wire import Answer, Call, World

LARGEST_VALUE = 25 * 1024  # bytes
RECOVERABLE_DAYS = 90
_MOST_TAGS = 15
_LONGEST_TYPE = 255  # characters
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
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self) -> Answer:
        """The refusal as Key Vault words it."""
        error: dict[str, Any] = {"code": self.code or _CODES.get(self.status, "Error"), "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        return Answer(self.status, {"error": error}, self.headers)


class _Attributes(msgspec.Struct):
    """What a caller may set of them; None: is not set."""

    enabled: bool | None = None
    nbf: int | None = None
    exp: int | None = None


class _Body(msgspec.Struct, rename="camel"):
    """What is sent to set a secret, or to change a version; None: is not set."""

    value: str | None = None
    content_type: str | None = None
    tags: dict[str, str] | None = None
    attributes: _Attributes | None = None


class SecretOperations:
    """Each takes (call, vault, name of the secret, rest of the path) and answers or raises Refused."""

    def __init__(self, world: World, vaults: Vaults) -> None:
        self._world = world
        self._vaults = vaults

    def _live(self, vault: Vault, name: str, version_id: str = "") -> tuple[VaultSecret, SecretVersion]:
        """A secret that is not deleted, and one of its versions; the newest without an id."""
        secret = self._vaults.secret(vault, name)
        version = secret.version(version_id) if secret and secret.deleted is None else None
        if secret is None or version is None:
            raise Refused(
                404,
                f"A secret with (name/id) {f'{name}/{version_id}'.rstrip('/')} was not found in this key vault. If you "
                "recently deleted this secret you may be able to recover it using the correct recovery command. For "
                "help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
            )
        return secret, version

    def _deleted(self, vault: Vault, name: str) -> VaultSecret:
        secret = self._vaults.secret(vault, name)
        if secret is None or secret.deleted is None:
            raise Refused(404, f"Deleted Secret not found: {name}")
        return secret

    def get(self, _call: Call, vault: Vault, name: str, rest: str) -> Answer:
        """One version's value and properties; the newest without a version."""
        secret, version = self._live(vault, name, rest)
        if not version.attributes.enabled:
            raise Refused(403, "Operation get is not allowed on a disabled secret.", "SecretDisabled")
        return Answer(200, {"value": version.value, **_properties(vault, secret, version)})

    def set(self, call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """A new version."""
        body = _read(call)
        if body.value is None:
            raise Refused(400, "The parameter 'value' is required.")
        if len(body.value.encode()) > LARGEST_VALUE:
            raise Refused(400, f"The secret's value is longer than {LARGEST_VALUE} bytes.")
        known = self._vaults.secret(vault, name)
        if known is not None and known.deleted is not None:
            raise Refused(
                409,
                f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in "
                "this state, the secret can only be recovered or purged.",
                "ObjectIsDeletedButRecoverable",
            )
        version = self._vaults.new_version(body.value)
        _apply(body, version)
        secret = self._vaults.add_version(vault, name, version)
        return Answer(200, {"value": body.value, **_properties(vault, secret, version)})

    def update(self, call: Call, vault: Vault, name: str, rest: str) -> Answer:
        """Change a version's attributes, content type or tags."""
        secret, version = self._live(vault, name, rest)
        _apply(_read(call), version)
        version.attributes.updated = int(self._world.now())
        self._vaults.save(vault, secret)
        return Answer(200, _properties(vault, secret, version))

    def delete(self, _call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """Delete the secret; it can be recovered."""
        secret, version = self._live(vault, name)
        self._vaults.delete(vault, secret)
        return Answer(200, _deleted_properties(vault, secret, version))

    def get_deleted(self, _call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """A deleted secret's properties."""
        secret = self._deleted(vault, name)
        return Answer(200, _deleted_properties(vault, secret, secret.versions[-1]))

    def recover(self, _call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """Undo a deletion."""
        secret = self._deleted(vault, name)
        secret.deleted = None
        self._vaults.save(vault, secret)
        return Answer(200, _properties(vault, secret, secret.versions[-1]))

    def purge(self, _call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """Refused, because purge protection is on.

        Source of the words: github.com/Azure/sap-automation/pull/200.
        """
        self._deleted(vault, name)
        raise Refused(
            403,
            'Operation "purge" is not allowed because purge protection is enabled for this vault. Key Vault service '
            f"will automatically purge it after the retention period has passed.\r\nVault: {vault.name};"
            f"location={LOCATION}",
        )

    def list(self, call: Call, vault: Vault, _name: str, _rest: str) -> Answer:
        """A page of the secrets that are not deleted."""
        live = [secret for secret in self._vaults.secrets(vault) if secret.deleted is None]
        return _page(call, vault, [_properties(vault, secret) for secret in live])

    def list_deleted(self, call: Call, vault: Vault, _name: str, _rest: str) -> Answer:
        """A page of the deleted secrets."""
        gone = [secret for secret in self._vaults.secrets(vault) if secret.deleted is not None]
        return _page(call, vault, [_deleted_properties(vault, secret) for secret in gone])

    def list_versions(self, call: Call, vault: Vault, name: str, _rest: str) -> Answer:
        """A page of one secret's versions."""
        secret, _ = self._live(vault, name)
        return _page(call, vault, [_properties(vault, secret, version) for version in secret.versions])


def _read(call: Call) -> _Body:
    try:
        body = msgspec.json.decode(call.body or b"null", type=_Body)
    except msgspec.DecodeError as error:
        raise Refused(400, f"The request body is not valid: {error}") from None
    if len(body.tags or ()) > _MOST_TAGS or len(body.content_type or "") > _LONGEST_TYPE:
        raise Refused(400, "Property has invalid value")
    return body


def _apply(body: _Body, version: SecretVersion) -> None:
    version.content_type = version.content_type if body.content_type is None else body.content_type
    version.tags = version.tags if body.tags is None else body.tags
    if body.attributes:
        for name, value in msgspec.structs.asdict(body.attributes).items():
            if value is not None:
                setattr(version.attributes, name, value)


def _properties(vault: Vault, secret: VaultSecret, version: SecretVersion | None = None) -> dict[str, Any]:
    """The bundle of a version without its value; without one as lists give the newest, with the secret's own id."""
    identifier = f"{vault.url}/secrets/{secret.name}" + (f"/{version.id}" if version else "")
    version = version or secret.versions[-1]
    attributes = msgspec.to_builtins(version.attributes) | {
        "recoveryLevel": "Recoverable",  # purge protection is on
        "recoverableDays": RECOVERABLE_DAYS,
    }
    bundle = {"id": identifier, "attributes": attributes, "contentType": version.content_type, "tags": version.tags}
    return {name: value for name, value in bundle.items() if value is not None}


def _deleted_properties(vault: Vault, secret: VaultSecret, version: SecretVersion | None = None) -> dict[str, Any]:
    deleted = secret.deleted or 0
    return {
        "recoveryId": f"{vault.url}/deletedsecrets/{secret.name}",
        "deletedDate": deleted,
        "scheduledPurgeDate": deleted + RECOVERABLE_DAYS * 86_400,
        **_properties(vault, secret, version),
    }


def _page(call: Call, vault: Vault, items: list[dict[str, Any]]) -> Answer:
    """One page, `maxresults` long, with a link to the next."""
    try:
        size = int(call.query.get("maxresults", _PAGE))
        start = int(base64.urlsafe_b64decode(call.query.get("$skiptoken", "MA==")))
    except ValueError:
        raise Refused(400, "maxresults or $skiptoken is not valid.") from None
    if not 1 <= size <= _PAGE:
        raise Refused(400, f"maxresults must be between 1 and {_PAGE}.")
    following, link = start + size, None
    if following < len(items):
        mark = base64.urlsafe_b64encode(str(following).encode()).decode()
        version = call.query["api-version"]
        link = f"{vault.url}{call.path}?api-version={version}&$skiptoken={mark}&maxresults={size}"
    return Answer(200, {"value": items[start:following], "nextLink": link})
