"""A certificate authority of a test, and the certificates that it signs."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """An authority; its own certificate is `authority.crt`.

    Args:
        folder: where certificates and keys (PEM) are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        self.certificate = folder / "authority.crt"
        self.certificate.write_bytes(self._sign(self._name, self._key.public_key()))

    def issue(self, file: str, common_name: str, organization: str = "Shop", addresses: Iterable[str] = ()) -> None:
        """Write a certificate and its key as `file.crt` and `file.key`, with the IP addresses of a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name),
            ]
        )
        (self._folder / f"{file}.crt").write_bytes(self._sign(subject, key.public_key(), addresses))
        pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self._folder / f"{file}.key").write_bytes(key.private_bytes(*pem))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, addresses: Iterable[str] = ()) -> bytes:
        now = datetime.now(UTC)
        built = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        built = built.serial_number(x509.random_serial_number())
        built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        built = built.add_extension(x509.BasicConstraints(ca=subject == self._name, path_length=None), critical=True)
        if names := [x509.IPAddress(ip_address(address)) for address in addresses]:
            built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
