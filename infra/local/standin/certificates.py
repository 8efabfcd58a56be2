"""Certificates: the stand-in's server certificate, which vouches for itself, and those of daemon applications.

RSA throughout: the SDKs' certificate credentials need RSA, and every client library accepts an RSA server.
"""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import NameOID

SERVER_NAMES = (
    "login.microsoftonline.com",
    "management.azure.com",
    "graph.microsoft.com",
    "*.vault.azure.net",
    "*.documents.azure.com",
)
_LIFETIME = timedelta(days=365)
_RENEWED_BEFORE_END = timedelta(days=7)


class ServerCertificate:
    """The server's certificate, which lives in the state directory and is all that clients have to trust.

    It signs itself and may sign no other, so that who trusts it trusts nothing but the stand-in.
    """

    def __init__(self, folder: Path) -> None:
        """Read it from `folder`, or make it there when it is missing or about to expire."""
        folder.mkdir(parents=True, exist_ok=True)
        self.bundle = folder / "ca.pem"  # what SSL_CERT_FILE and REQUESTS_CA_BUNDLE name
        self._server = folder / "server.pem"  # with its private key
        if not self._usable():
            made = SelfSigned(
                "Bulkhead local stand-in for Azure",
                x509.SubjectAlternativeName([x509.DNSName(name) for name in SERVER_NAMES]),
                x509.BasicConstraints(ca=False, path_length=None),
            )
            self._server.touch(mode=0o600)
            self._server.write_text(made.pem())
            self.bundle.write_bytes(made.certificate.public_bytes(Encoding.PEM))

    def context(self) -> ssl.SSLContext:
        """A TLS context that answers for all host names of the stand-in."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._server)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _usable(self) -> bool:
        if not (self.bundle.exists() and self._server.exists()):
            return False
        certificate = x509.load_pem_x509_certificate(self.bundle.read_bytes())
        return certificate.not_valid_after_utc - _RENEWED_BEFORE_END > datetime.now(UTC)


class SelfSigned:
    """A self-signed certificate with its private key, as an administrator makes one for an application."""

    def __init__(self, subject: str, *extensions: x509.ExtensionType) -> None:
        self._key = new_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject[:64])])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _LIFETIME)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    def pem(self) -> str:
        """Private key (PKCS#8) and certificate, as Key Vault stores a certificate of type application/x-pem-file."""
        return self.private_key_pem() + self.certificate.public_bytes(Encoding.PEM).decode()

    def pkcs12(self) -> bytes:
        """PKCS#12 without password, as Key Vault stores a certificate of type application/x-pkcs12."""
        return pkcs12.serialize_key_and_certificates(None, self._key, self.certificate, None, NoEncryption())

    def private_key_pem(self) -> str:
        """The private key alone (PKCS#8)."""
        return key_pem(self._key)


def new_key() -> RSAPrivateKey:
    """An RSA key as Azure's are."""
    return generate_private_key(65537, 2048)


def key_pem(key: RSAPrivateKey) -> str:
    """A private key in PEM (PKCS#8)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def names_host(host: str) -> bool:
    """Whether the server certificate covers `host`: a wildcard stands for exactly one label (RFC 6125)."""
    return host in SERVER_NAMES or f"*.{host.partition('.')[2]}" in SERVER_NAMES
