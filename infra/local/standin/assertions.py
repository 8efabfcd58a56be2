"""Client assertions: tokens by which an application proves itself, signed by its certificate or by whom it trusts.

Sources: learn.microsoft.com/entra/identity-platform/certificate-credentials,
learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity (federation).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import jwt
from cryptography import x509

from infra.local.standin.directories import Application, ClientCertificate, FederatedCredential
from infra.local.standin.jwt import SKEW, UNCHECKED, TokenIssuer, TokenRejected
from infra.local.standin.refusals import Refused
from infra.local.standin.wire import World

HOST = "login.microsoftonline.com"


class Assertions:
    """Checks client assertions."""

    def __init__(self, world: World, tokens: TokenIssuer) -> None:
        self._world = world
        self._tokens = tokens

    def check(self, application: Application, assertion: str) -> None:
        """A client assertion: RS256 named by `x5t` (MSAL) or PS256 named by `x5t#S256` (azure-identity's aio)."""
        try:
            header = jwt.get_unverified_header(assertion)
            presented = jwt.decode(assertion, options={"verify_signature": False})
            if str(presented.get("iss", "")).startswith("https://"):
                self._check_federated(application, assertion, presented)
                return
            certificate = _named_certificate(application, header)
            key = _public_key(certificate.pem)
            claims = jwt.decode(assertion, key, algorithms=["RS256", "PS256"], options=UNCHECKED)
        except jwt.InvalidSignatureError:
            raise Refused(700027) from None
        except jwt.InvalidTokenError:
            raise Refused(50027) from None
        self._check_claims(application, certificate, claims)

    def _check_claims(
        self, application: Application, certificate: ClientCertificate, claims: Mapping[str, Any]
    ) -> None:
        if claims.get("sub") != application.client_id or claims.get("iss") != application.client_id:
            raise Refused(700021)
        base = f"https://{HOST}/{application.directory_id}"
        if claims.get("aud") not in {f"{base}/oauth2/v2.0/token", f"{base}/v2.0"}:
            raise Refused(700023)
        now = self._world.now()
        start, end = claims.get("nbf", claims.get("iat", 0)), claims.get("exp")
        if not isinstance(end, int | float) or not isinstance(start, int | float):
            raise Refused(50027)
        if end + SKEW < now or start - SKEW > now:
            raise Refused(
                700024,
                f"Client assertion is not within its valid time range. Current time: {_iso(now)}, assertion valid "
                f"from {_iso(start)}, expiry time of assertion {_iso(end)}.",
            )
        if certificate.expires < now:
            raise Refused(700027, "The certificate used to sign the client assertion is expired.")

    def _check_federated(self, application: Application, assertion: str, presented: Mapping[str, Any]) -> None:
        """A token of the directory itself as assertion: one federated credential must match it in everything."""
        found = application.having(FederatedCredential)
        if not found:
            raise Refused(70021)
        for code, claim, name in ((700211, "iss", "issuer"), (700213, "sub", "subject"), (700212, "aud", "audience")):
            found = [one for one in found if getattr(one, name) == presented.get(claim)]
            if not found:
                raise Refused(code, claim=name, value=str(presented.get(claim)))
        try:
            claims = self._tokens.verify(assertion, found[0].audience)
        except TokenRejected as rejected:
            raise Refused(700024 if rejected.reason in ("expired", "not_yet_valid") else 700027) from None
        if claims.raw.get("idtyp") != "app":
            raise Refused(700229)


@lru_cache(maxsize=1024)
def _public_key(pem: str) -> Any:
    return x509.load_pem_x509_certificate(pem.encode()).public_key()


def _named_certificate(application: Application, header: Mapping[str, Any]) -> ClientCertificate:
    """The registered certificate that the assertion's header names, by its SHA-256 or SHA-1 thumbprint."""
    by_sha256, by_sha1 = str(header.get("x5t#S256", "")).rstrip("="), str(header.get("x5t", "")).rstrip("=")
    for certificate in application.having(ClientCertificate):
        if by_sha256 == certificate.x5t_s256 or (not by_sha256 and by_sha1 == certificate.x5t):
            return certificate
    raise Refused(
        700027,
        "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - "
        f"The key was not found., Thumbprint of key used by client: '{by_sha256 or by_sha1}', Please visit the Azure "
        f"Portal or Microsoft Graph to see the registered keys of the application '{application.client_id}'.]",
    )


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
