"""A certificate authority for tests and the certificate of a hub."""

import datetime as dt
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HUB_NAME = "hub.example.org"


class Certificates(NamedTuple):
    """PEM files. TEST ONLY: made for one test run."""

    ca: Path
    certificate: Path
    key: Path


def make(folder: Path, *, ca: str = "Test CA", hub_days: tuple[int, int] = (-1, 90)) -> Certificates:
    """Make a CA and a certificate for `HUB_NAME` and 127.0.0.1, good from and until so many days from now."""
    ca_key, hub_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ca)])
    hub_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HUB_NAME)])
    usage = {
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "encipher_only": False,
        "decipher_only": False,
    }
    authority = (
        _builder(ca_name, ca_name, ca_key.public_key(), (-9, 99))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, SHA256())
    )
    names = [x509.DNSName(HUB_NAME), x509.IPAddress(ip_address("127.0.0.1"))]
    hub = (
        _builder(hub_name, ca_name, hub_key.public_key(), hub_days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, SHA256())
    )
    found = Certificates(folder / "ca.pem", folder / "hub.pem", folder / "hub.key")
    found.ca.write_bytes(authority.public_bytes(Encoding.PEM))
    found.certificate.write_bytes(hub.public_bytes(Encoding.PEM))
    found.key.write_bytes(hub_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return found


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: tuple[int, int]
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 (no Django here)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
    )
