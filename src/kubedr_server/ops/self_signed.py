"""A certificate authority of our own, for clusters without cert-manager: when to make what.

Pure: from what the shared Secret holds and the time follows what it should hold. The order of a
rotation matters, because API servers and replicas learn of a change at different moments:

1. a third of the CA's life before its end, the next CA is made and only *trusted* (`caBundle`);
2. `OVERLAP` later it signs the serving certificate, and the old CA is still trusted;
3. another `OVERLAP` later the old CA is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE: Final = timedelta(days=365 * 2)
CERTIFICATE_LIFE: Final = timedelta(days=90)
OVERLAP: Final = timedelta(hours=1)
_CLOCK_SKEW: Final = timedelta(minutes=5)

CA_BUNDLE: Final = "ca.crt"
"""Every CA to be trusted now, the one that signs first."""

CA_KEY: Final = "ca.key"
NEXT_CA: Final = "next-ca.crt"
NEXT_CA_KEY: Final = "next-ca.key"
CERTIFICATE: Final = "tls.crt"
CERTIFICATE_KEY: Final = "tls.key"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as PEM, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def is_old(self, now: datetime) -> bool:
        """Whether less than a third of its life is left."""
        start, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return now >= end - (end - start) / 3


def plan(data: dict[str, bytes], hosts: Sequence[x509.GeneralName], now: datetime) -> dict[str, bytes]:
    """Return what the Secret should hold now: the same as `data` if all is well; else damaged parts anew."""
    signer = _read_pair(data, CA_BUNDLE, CA_KEY)
    staged = _read_pair(data, NEXT_CA, NEXT_CA_KEY)
    if signer is None or signer.certificate.not_valid_after_utc <= now:
        signer, staged = make_ca(now), None
    if staged is None and signer.is_old(now):
        staged = make_ca(now)
    elif staged is not None and now >= _made(staged) + OVERLAP:
        signer, staged = staged, None
    leaf = _read_pair(data, CERTIFICATE, CERTIFICATE_KEY)
    if leaf is None or leaf.is_old(now) or not _fits(leaf, signer, hosts):
        leaf = make_certificate(signer, hosts, now)
    trusted = [signer.certificate, *([staged.certificate] if staged else [])]
    if now < _made(leaf) + OVERLAP:
        # Other replicas may still serve what an earlier CA has signed.
        before = _read_bundle(data.get(CA_BUNDLE, b""))
        trusted += [one for one in before if one not in trusted and one.not_valid_after_utc > now]
    wanted = {
        CA_BUNDLE: b"".join(one.public_bytes(serialization.Encoding.PEM) for one in trusted),
        CA_KEY: signer.key_pem,
        CERTIFICATE: leaf.certificate_pem,
        CERTIFICATE_KEY: leaf.key_pem,
    }
    if staged is not None:
        wanted |= {NEXT_CA: staged.certificate_pem, NEXT_CA_KEY: staged.key_pem}
    return wanted


def make_ca(now: datetime) -> Pair:
    """Make a CA that can sign nothing but serving certificates' leaves."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"kubedr webhook CA {now:%Y-%m-%d}")])
    certificate = (
        _builder(name, name, key, now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def make_certificate(ca: Pair, hosts: Sequence[x509.GeneralName], now: datetime) -> Pair:
    """Make a serving certificate for these DNS names and IP addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubedr webhook")])
    life = min(CERTIFICATE_LIFE, ca.certificate.not_valid_after_utc - now)
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
    certificate = (
        _builder(name, ca.certificate.subject, key, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _made(pair: Pair) -> datetime:
    return pair.certificate.not_valid_before_utc + _CLOCK_SKEW


def _fits(leaf: Pair, ca: Pair, hosts: Sequence[x509.GeneralName]) -> bool:
    try:
        leaf.certificate.verify_directly_issued_by(ca.certificate)
        names = leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return set(names.value) == set(hosts)


def _read_pair(data: dict[str, bytes], certificate: str, key: str) -> Pair | None:
    """Return the pair, the bundle's first certificate; None if it is missing, damaged or mismatched."""
    bundle = _read_bundle(data.get(certificate, b""))
    try:
        private = serialization.load_pem_private_key(data.get(key, b""), password=None)
    except (ValueError, TypeError):
        return None
    if not bundle or not isinstance(private, ec.EllipticCurvePrivateKey):
        return None
    return Pair(bundle[0], private) if bundle[0].public_key() == private.public_key() else None


def _read_bundle(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []
