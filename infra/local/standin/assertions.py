"""Client assertions: tokens by which an application proves itself, signed by its certificate or by whom it trusts.

Sources: learn.microsoft.com/entra/identity-platform/certificate-credentials, .../reference-error-codes (AADSTS codes),
learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity (federation).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import jwt
from cryptography import x509

from infra.local.standin.directories import Application, ClientCertificate
from infra.local.standin.jwt import SKEW, TokenIssuer, TokenRejected
from infra.local.standin.wire import World

HOST = "login.microsoftonline.com"


@dataclass
class Refused(Exception):  # noqa: N818 - reads better where it is raised
    """An answer of the token endpoint that gives no token."""

    code: int  # AADSTS number
    error: str  # OAuth 2.0 error
    text: str
    status: Literal[400, 401] = 400


class Assertions:
    """Checks client assertions."""

    def __init__(self, world: World, tokens: TokenIssuer) -> None:
        self._world = world
        self._tokens = tokens
        self._certificates: dict[str, Any] = {}  # PEM -> public key

    def check(self, application: Application, assertion: str) -> None:
        """A client assertion: RS256 named by `x5t` (MSAL) or PS256 named by `x5t#S256` (azure-identity's aio)."""
        unchecked: Any = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        try:
            header = jwt.get_unverified_header(assertion)
            presented = jwt.decode(assertion, options={"verify_signature": False})
            if str(presented.get("iss", "")).startswith("https://"):
                self._check_federated(application, assertion, presented)
                return
            certificate = _named_certificate(application, header)
            if certificate is None:
                thumbprint = header.get("x5t#S256") or header.get("x5t")
                raise Refused(
                    700027,
                    "invalid_client",
                    "The certificate with identifier used to sign the client assertion is not registered on "
                    f"application. [Reason - The key was not found., Thumbprint of key used by client: '{thumbprint}', "
                    "Please visit the Azure Portal or Microsoft Graph to see the registered keys of the application "
                    f"'{application.client_id}'.]",
                    401,
                )
            claims = jwt.decode(
                assertion, self._public_key(certificate.pem), algorithms=["RS256", "PS256"], options=unchecked
            )
        except jwt.InvalidSignatureError:
            raise Refused(700027, "invalid_client", "Client assertion failed signature validation.", 401) from None
        except jwt.InvalidTokenError:
            raise Refused(50027, "invalid_request", "JWT token is invalid or malformed.") from None
        self._check_claims(application, certificate, claims)

    def _check_claims(
        self, application: Application, certificate: ClientCertificate, claims: Mapping[str, Any]
    ) -> None:
        if claims.get("sub") != application.client_id or claims.get("iss") != application.client_id:
            raise Refused(
                700021,
                "invalid_client",
                "Client assertion application identifier doesn't match 'client_id' parameter.",
                401,
            )
        base = f"https://{HOST}/{application.directory_id}"
        if claims.get("aud") not in {f"{base}/oauth2/v2.0/token", f"{base}/v2.0"}:
            raise Refused(
                700023,
                "invalid_client",
                "Client assertion audience claim does not match Realm issuer. Review the documentation at "
                "https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
                401,
            )
        now = self._world.now()
        start, end = claims.get("nbf", claims.get("iat", 0)), claims.get("exp")
        if not isinstance(end, int | float) or not isinstance(start, int | float):
            raise Refused(50027, "invalid_request", "JWT token is invalid or malformed.")
        if end + SKEW < now or start - SKEW > now:
            raise Refused(
                700024,
                "invalid_client",
                f"Client assertion is not within its valid time range. Current time: {_iso(now)}, assertion valid "
                f"from {_iso(start)}, expiry time of assertion {_iso(end)}.",
                401,
            )
        if certificate.expires < now:
            raise Refused(
                700027, "invalid_client", "The certificate used to sign the client assertion is expired.", 401
            )

    def _check_federated(self, application: Application, assertion: str, presented: Mapping[str, Any]) -> None:
        """A token of the directory itself as assertion: one federated credential must match it in everything.

        Sources of the codes: github.com/Azure/azure-workload-identity/issues/616 (70021) and /1200 (700211, 700213);
        700229: github.com/MicrosoftDocs/azure-docs/issues/109083.
        """
        found = application.federated
        if not found:
            raise Refused(70021, "invalid_request", "No matching federated identity record found for presented "
                                                     "assertion.")  # fmt: skip
        for code, claim, name in ((700211, "iss", "issuer"), (700213, "sub", "subject"), (700212, "aud", "audience")):
            found = [one for one in found if getattr(one, name) == presented.get(claim)]
            if not found:
                raise Refused(
                    code,
                    "invalid_client",
                    f"No matching federated identity record found for presented assertion {name} "
                    f"'{presented.get(claim)}'. Check your federated identity credential Subject, Audience and Issuer "
                    "against the presented assertion.",
                    401,
                )
        try:
            claims = self._tokens.verify(assertion, found[0].audience)
        except TokenRejected as rejected:
            if rejected.reason in ("expired", "not_yet_valid"):
                raise Refused(
                    700024, "invalid_client", "Client assertion is not within its valid time range.", 401
                ) from None
            raise Refused(700027, "invalid_client", "Client assertion failed signature validation.", 401) from None
        if claims.raw.get("idtyp") != "app":
            raise Refused(
                700229,
                "invalid_client",
                "Forbidden token type. Only app-only tokens may be used as Federated Identity Credentials for AAD "
                "issuer.",
                401,
            )

    def _public_key(self, pem: str) -> Any:
        if pem not in self._certificates:
            self._certificates[pem] = x509.load_pem_x509_certificate(pem.encode()).public_key()
        return self._certificates[pem]


def _named_certificate(application: Application, header: Mapping[str, Any]) -> ClientCertificate | None:
    """The registered certificate that the assertion's header names, by its SHA-256 or SHA-1 thumbprint."""
    by_sha256, by_sha1 = str(header.get("x5t#S256", "")).rstrip("="), str(header.get("x5t", "")).rstrip("=")
    for certificate in application.certificates:
        if by_sha256 == certificate.x5t_s256 or (not by_sha256 and by_sha1 == certificate.x5t):
            return certificate
    return None


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
