"""Certificates: the stand-in's own authority with its server certificate, and certificates for daemon applications.

RSA throughout: the SDKs' certificate credentials need RSA, and every client library accepts an RSA server.
"""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER_NAMES = (
    "login.microsoftonline.com",
    "management.azure.com",
    "graph.microsoft.com",
    "*.vault.azure.net",
    "*.documents.azure.com",
)
_LIFETIME = timedelta(days=365)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
_RENEWED_BEFORE_END = timedelta(days=7)


class Authority:
    """A certificate authority that lives in the state directory; its certificate is all that clients have to trust."""

    def __init__(self, folder: Path) -> None:
        """Read authority and server certificate from `folder`, or make them there when missing or about to expire."""
        folder.mkdir(parents=True, exist_ok=True)
        self.bundle = folder / "ca.pem"  # what SSL_CERT_FILE and REQUESTS_CA_BUNDLE name
        self._server = folder / "server.pem"  # private key and chain
        if not self._usable():
            self._create()

    def server_context(self) -> ssl.SSLContext:
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

    def _create(self) -> None:
        authority_key, server_key = _new_key(), _new_key()
        authority_name = _name("Bulkhead local stand-in for Azure")
        authority = (
            _builder(authority_name, authority_name, authority_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        server = (
            _builder(_name("stand-in"), authority_name, server_key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in SERVER_NAMES]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .sign(authority_key, hashes.SHA256())
        )
        self._server.touch(mode=0o600)
        self._server.write_bytes(_key_pem(server_key) + server.public_bytes(Encoding.PEM))
        self.bundle.write_bytes(authority.public_bytes(Encoding.PEM))


class ClientCertificate:
    """A self-signed certificate with its private key, as an administrator makes one for an application."""

    def __init__(self, subject: str, lifetime: timedelta = _LIFETIME) -> None:
        self._key = _new_key()
        name = _name(subject)
        self.certificate = _builder(name, name, self._key, lifetime).sign(self._key, hashes.SHA256())

    def pem(self) -> str:
        """Private key (PKCS#8) and certificate, as Key Vault stores a certificate of type application/x-pem-file."""
        return (_key_pem(self._key) + self.certificate.public_bytes(Encoding.PEM)).decode()

    def pkcs12(self) -> bytes:
        """PKCS#12 without password, as Key Vault stores a certificate of type application/x-pkcs12."""
        return pkcs12.serialize_key_and_certificates(None, self._key, self.certificate, None, NoEncryption())

    def private_key_pem(self) -> str:
        """The private key alone (PKCS#8)."""
        return _key_pem(self._key).decode()


def _new_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def _key_pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: RSAPrivateKey, lifetime: timedelta = _LIFETIME
) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1) + lifetime)
    )


def names_host(host: str, patterns: Sequence[str] = SERVER_NAMES) -> bool:
    """Whether the server certificate covers `host`: a wildcard stands for exactly one label (RFC 6125)."""
    return host in patterns or f"*.{host.partition('.')[2]}" in patterns
