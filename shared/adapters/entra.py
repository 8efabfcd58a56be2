"""Entra ID: step 2, the daemon's identity; and the keys with which it signs our callers' tokens."""

import asyncio
import base64
import binascii
import contextlib
from typing import Any, assert_never, cast

import jwt
from azure.core import AsyncPipelineClient
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncRetryPolicy, ContentDecodePolicy, SansIOHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.identity.aio import CertificateCredential, ClientAssertionCredential, ClientSecretCredential

from shared.access.failures import AccessError, Failure
from shared.access.models import Credential, Daemon
from shared.adapters.failure import access_error, retry_after
from shared.adapters.http import PLAIN_POLICIES, SharedTransport
from shared.core.clock import Clock
from shared.core.errors import BulkheadError, Kind
from shared.core.secret import Secret
from shared.core.token import SigningKey

RESOURCE_MANAGER_SCOPE = "https://management.azure.com/.default"
_AUTHORITY = "https://login.microsoftonline.com"
_NO_FEDERATION = 70021  # AADSTS: no federated credential matches, or one that is new is not known everywhere yet


class Entra:
    """shared.access.ports.IdentityProvider. A credential object lives for one token: it caches, so it must not stay."""

    def __init__(self, transport: SharedTransport) -> None:
        self._transport = transport

    async def take_on(self, daemon: Daemon, credential: Credential) -> Secret:
        """A token for Resource Manager as the daemon application. Raises AccessError."""
        try:
            source = self._credential(daemon, credential)
        except (ValueError, binascii.Error) as error:
            raise AccessError(2, Failure.MISCONFIGURED) from error
        try:
            return Secret((await source.get_token(RESOURCE_MANAGER_SCOPE)).token)
        except ClientAuthenticationError as error:
            raise _refusal(error) from error
        except AzureError as error:
            raise access_error(2, error) from error
        except (TypeError, ValueError, KeyError) as error:
            # azure-identity takes whatever comes for a JSON object; a gateway's error page is none.
            raise AccessError(2, Failure.TRANSIENT) from error

    def _credential(
        self, daemon: Daemon, credential: Credential
    ) -> ClientSecretCredential | CertificateCredential | ClientAssertionCredential:
        value = credential.value.reveal()
        # azure-identity names the methods to retry, which only a retry policy understands, even one that never does.
        policies = (*PLAIN_POLICIES, AsyncRetryPolicy(retry_total=0), _Throttled())
        options: dict[str, Any] = {"transport": self._transport, "policies": policies}
        match credential.form:
            case "client_secret":
                return ClientSecretCredential(daemon.directory_id, daemon.client_id, value, **options)
            case "assertion":
                return ClientAssertionCredential(daemon.directory_id, daemon.client_id, lambda: value, **options)
            case "pem" | "pkcs12":
                data = value.encode() if credential.form == "pem" else base64.b64decode(value, validate=True)
                return CertificateCredential(daemon.directory_id, daemon.client_id, certificate_data=data, **options)
            case _:
                assert_never(credential.form)


class _Throttled(SansIOHTTPPolicy[Any, Any]):
    """Raises HttpResponseError for 429, whose body is no JSON: azure-identity would make nothing of the answer."""

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:  # noqa: ARG002
        """Look at one answer."""
        if response.http_response.status_code == 429:
            raise HttpResponseError(response=response.http_response)


def _refusal(error: ClientAuthenticationError) -> AccessError:
    """Entra's refusals, by its `error` code ("Microsoft identity platform and OAuth 2.0", error codes)."""
    if error.response is None:
        return AccessError(2, Failure.TRANSIENT)
    status = error.response.status_code or 0
    code, numbers = "", []  # without a JSON body the status decides
    with contextlib.suppress(ValueError, AttributeError):
        body = cast(Any, error.response).json()
        code, numbers = str(body.get("error", "")), body.get("error_codes")
    wait = retry_after(error)
    if status == 429 or code == "temporarily_unavailable":
        return AccessError(2, Failure.THROTTLED, status=status, retry_after=wait)
    if status == 408 or (status >= 500 and status != 501):
        return AccessError(2, Failure.TRANSIENT, status=status, retry_after=wait)
    if code == "invalid_client" or numbers == [_NO_FEDERATION]:
        return AccessError(2, Failure.CREDENTIAL_REJECTED, status=status)
    if code == "unauthorized_client":
        return AccessError(2, Failure.NOT_FOUND, status=status)
    return AccessError(2, Failure.MISCONFIGURED, status=status)


class SigningKeys:
    """Entra's public signing keys, cached. Asked again for an unknown key, but not more often than `pause` seconds.

    The pause stops a caller who invents key ids from making us hammer Entra; after a failure it is shorter. Keys are
    renewed after `lifetime`, so that a withdrawn key stops working ("Signing key rollover in the Microsoft identity
    platform": check each 24 h).
    """

    def __init__(
        self,
        transport: SharedTransport,
        clock: Clock,
        *,
        pause: float = 30,
        pause_after_failure: float = 2,
        lifetime: float = 6 * 3600,
        within: float = 10,
    ) -> None:
        """`within` is for an answer: the SDK alone, and so every caller, would wait as long as a Retry-After says."""
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
            _AUTHORITY,
            policies=[AsyncRetryPolicy(retry_total=2, retry_backoff_max=2), ContentDecodePolicy()],
            transport=transport,
        )
        self._clock = clock
        self._pause = pause
        self._pause_after_failure = pause_after_failure
        self._lifetime = lifetime
        self._within = within
        self._keys: dict[str, SigningKey] = {}
        self._expire = self._ask_again = float("-inf")
        self._failed = False
        self._lock = asyncio.Lock()

    async def get(self, kid: str) -> SigningKey:
        """The key `kid`. Raises BulkheadError: unauthenticated for an unknown key, unavailable without an answer."""
        if self._to_be_asked_for(kid):
            async with self._lock:
                if self._to_be_asked_for(kid):  # not yet by another request
                    await self._fetch()
        if self._has(kid):
            return self._keys[kid]
        if self._failed:
            raise BulkheadError(
                Kind.UNAVAILABLE, "identity_unavailable", "Tokens cannot be verified at the moment.", retry_after=5
            )
        raise BulkheadError(Kind.UNAUTHENTICATED, "invalid_token", "The token's key is unknown.")

    def _has(self, kid: str) -> bool:
        return kid in self._keys and self._clock.monotonic() <= self._expire

    def _to_be_asked_for(self, kid: str) -> bool:
        return not self._has(kid) and self._clock.monotonic() > self._ask_again

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._within):
                answer = await self._client.send_request(HttpRequest("GET", f"{_AUTHORITY}/common/discovery/v2.0/keys"))
            answer.raise_for_status()
            document = answer.json()
            keys = {
                key["kid"]: SigningKey(key["kid"], jwt.PyJWK(key, algorithm="RS256").key, key["issuer"])
                for key in document["keys"]
                if key.get("kty") == "RSA" and key.get("issuer")
            }
        except (AzureError, TimeoutError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError):
            self._failed = True
            self._ask_again = self._clock.monotonic() + self._pause_after_failure
            return
        self._failed = False
        self._keys = keys
        self._expire = self._clock.monotonic() + self._lifetime
        self._ask_again = self._clock.monotonic() + self._pause
