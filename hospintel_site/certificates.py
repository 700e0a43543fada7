"""A certificate for trials: an authority of its own, and a server certificate signed by it."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.utils import timezone

from hospintel_site import env

DAYS = 90
ALWAYS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class TrialFiles:
    """Where the three files are. `ca` goes to the agents (`--ca`), the others stay with the hub."""

    ca: Path
    cert: Path
    key: Path


def make_test_certificate(folder: Path, names: Sequence[str]) -> TrialFiles:
    """Write ca.pem, cert.pem and key.pem (0600) for loopback and `names` (host names or addresses), for 90 days.

    The authority's own key is not kept: nothing else can be signed with it.
    Raises FileExistsError rather than replace a file, ValueError for a name that is none.
    """
    files = TrialFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    for path in (files.ca, files.cert, files.key):
        if path.exists():
            raise FileExistsError(f"{path} exists already.")
    env.folder(folder)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _authority(ca_key)
    cert = _server(key, ca, ca_key, [*dict.fromkeys([*ALWAYS, *names])])
    pem = serialization.Encoding.PEM
    _write(files.ca, ca.public_bytes(pem), 0o644)
    _write(files.cert, cert.public_bytes(pem), 0o644)
    plain = serialization.NoEncryption()
    _write(files.key, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), 0o600)
    return files


def own_authority(cert: Path) -> Path | None:
    """Return the `ca.pem` beside a server's certificate, if that is who signed it: agents need it as `--ca`."""
    ca = cert.parent / "ca.pem"
    try:
        issuer = x509.load_pem_x509_certificate(ca.read_bytes())
        x509.load_pem_x509_certificate(cert.read_bytes()).verify_directly_issued_by(issuer)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return None
    return ca


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hospintel test authority")])
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _dated(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, names: list[str]
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hospintel test server")])
    return (
        _dated(subject, ca.subject, key)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _dated(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = timezone.now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
