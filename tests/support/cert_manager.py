"""cert-manager, or what it is documented to do: issue Certificates, and hand CAs to webhook configurations.

Where $KUBEDR_CERT_MANAGER is a directory with cert-manager's programs (`controller`, `cainjector`, `webhook`)
and its CRDs (`crds/*.yaml`), these run; they need a real kube-apiserver. Elsewhere its part is played, with
the same objects.
"""

import base64
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubedr_server.local.demo.process import Daemon
from support.kubectl import SECONDS, Kubectl, Object
from support.ports import free_ports

GROUP = "cert-manager.io"
_NAMESPACE = "cert-manager"
_CONFIGURATIONS = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")


class CertManager(Protocol):
    """What a test needs of it."""

    def install(self) -> None:
        """Bring in its kinds, and whatever acts on them."""

    def issue(self, name: str) -> None:
        """See to it that the Certificate's Secret is there, and its CA where it is wanted."""

    def renew(self, name: str) -> None:
        """Issue it again."""


def programs() -> Path | None:
    """Return where cert-manager's programs and CRDs are; None where it has to be played."""
    folder = os.environ.get("KUBEDR_CERT_MANAGER")
    return Path(folder) if folder else None


class Played:
    """Does what cert-manager would, when asked."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def install(self) -> None:
        """Bring in the two kinds that the chart has."""
        self._kubectl.apply(*(_definition(kind) for kind in ("Issuer", "Certificate")))
        for plural in ("issuers", "certificates"):
            self._kubectl.wait("condition=Established", f"crd/{plural}.{GROUP}")

    def issue(self, name: str) -> None:
        """Sign, write the Secret, and hand on the CA."""
        spec = self._kubectl.get(f"certificates.{GROUP}", name)["spec"]
        data = _signed(spec, self._private_key(spec), self._authority_of(spec))
        self._kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": spec["secretName"]},
                "type": "kubernetes.io/tls",
                "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
            }
        )
        source = f"{self._kubectl.namespace}/{name}"
        for kind in _CONFIGURATIONS:
            for each in self._kubectl.list(kind):
                if each["metadata"].get("annotations", {}).get(f"{GROUP}/inject-ca-from") == source:
                    self._inject(kind, each, data["ca.crt"])

    def renew(self, name: str) -> None:
        """Issue it again."""
        self.issue(name)

    def _private_key(self, spec: Object) -> ec.EllipticCurvePrivateKey:
        assert (spec["privateKey"]["algorithm"], spec["privateKey"]["size"]) == ("ECDSA", 256)
        old = self._secret(spec["secretName"])
        if old and spec["privateKey"]["rotationPolicy"] == "Never":
            return _key(old["tls.key"])
        return ec.generate_private_key(ec.SECP256R1())

    def _authority_of(self, spec: Object) -> dict[str, bytes] | None:
        """Return the CA's certificate and key; None where the certificate signs itself."""
        issuer = self._kubectl.get(f"issuers.{GROUP}", spec["issuerRef"]["name"])["spec"]
        return None if "selfSigned" in issuer else self._secret(issuer["ca"]["secretName"])

    def _secret(self, name: str) -> dict[str, bytes]:
        answer = self._kubectl.answer("get", "secret", name, "-o", "json")
        data = json.loads(answer.stdout)["data"] if answer.exit_code == 0 else {}
        return {key: base64.b64decode(value) for key, value in data.items()}

    def _inject(self, kind: str, configuration: Object, authority: bytes) -> None:
        change = [
            {
                "op": "add",
                "path": f"/webhooks/{position}/clientConfig/caBundle",
                "value": base64.b64encode(authority).decode(),
            }
            for position in range(len(configuration["webhooks"]))
        ]
        name = configuration["metadata"]["name"]
        self._kubectl("patch", kind, name, "--type=json", "-p", json.dumps(change))


class Real:
    """cert-manager's own programs on a real kube-apiserver."""

    def __init__(self, kubectl: Kubectl, folder: Path, directory: Path) -> None:
        self._kubectl = kubectl
        self._folder = folder
        self._directory = directory
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Real":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def install(self) -> None:
        """Apply the CRDs, start the programs, and have its own webhook judge the chart's objects."""
        self._kubectl("apply", "-f", str(self._folder / "crds"))
        self._kubectl("create", "namespace", _NAMESPACE)
        webhook, health = free_ports(2)
        self._start("cainjector", "--leader-elect=false")
        self._start("controller", "--leader-elect=false", "--metrics-listen-address=127.0.0.1:0")
        self._start(
            "webhook",
            f"--secure-port={webhook}",
            f"--healthz-port={health}",
            f"--dynamic-serving-ca-secret-namespace={_NAMESPACE}",
            "--dynamic-serving-ca-secret-name=cert-manager-webhook-ca",
            "--dynamic-serving-dns-names=localhost",
        )
        self._kubectl.apply(
            _own_webhook("MutatingWebhookConfiguration", f"https://localhost:{webhook}/mutate"),
            _own_webhook("ValidatingWebhookConfiguration", f"https://localhost:{webhook}/validate"),
        )
        for kind in _CONFIGURATIONS:
            self._kubectl.until(
                kind,
                "cert-manager-webhook",
                lambda found: "caBundle" in found["webhooks"][0]["clientConfig"],
            )

    def issue(self, name: str) -> None:
        """Wait until it is ready: what fails while the programs start is tried again later and later."""
        self._kubectl.wait("condition=Ready", f"certificate/{name}", seconds=180)

    def renew(self, name: str) -> None:
        """Ask for it as cert-manager's own command line does, and wait."""
        spec = self._kubectl.get("certificate", name)["spec"]
        before = self._kubectl.get("secret", spec["secretName"])["data"]["tls.crt"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        asked = {
            "type": "Issuing",
            "status": "True",
            "reason": "ManuallyTriggered",
            "lastTransitionTime": now,
        }
        change = [{"op": "add", "path": "/status/conditions/-", "value": asked}]
        self._kubectl(
            "patch", "certificate", name, "--subresource=status", "--type=json", "-p", json.dumps(change)
        )
        self._kubectl.until(
            "secret", spec["secretName"], lambda found: bool(found["data"]["tls.crt"] != before)
        )
        self.issue(name)

    def _start(self, name: str, *arguments: str) -> None:
        argv = [str(self._folder / name), f"--kubeconfig={self._kubectl.kubeconfig}", *arguments]
        daemon = Daemon(f"cert-manager's {name}", argv, self._directory / f"{name}.log", env=dict(os.environ))
        daemon.start(lambda: True, seconds=SECONDS)
        self._stack.callback(daemon.stop)


def until(holds: Callable[[], bool], what: str, *, seconds: float = SECONDS) -> None:
    """Wait; AssertionError if it never holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@contextlib.contextmanager
def running(kubectl: Kubectl, directory: Path, kind: str) -> Iterator[CertManager]:
    """Run cert-manager on an API server of a kind (`embedded` or `kube-apiserver`), or play it."""
    folder = programs()
    if folder is None or kind == "embedded":
        yield Played(kubectl)
        return
    with Real(kubectl, folder, directory) as real:
        yield real


def _signed(
    spec: Object, key: ec.EllipticCurvePrivateKey, authority: dict[str, bytes] | None
) -> dict[str, bytes]:
    """Return what the Secret holds."""
    now, hours = datetime.now(UTC), int(spec["duration"].removesuffix("h"))
    common_name = spec.get("commonName")
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    subject = x509.Name(attributes)
    issuer, signer = subject, key
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(authority["tls.crt"]).subject
        signer = _key(authority["tls.key"])
    is_authority = bool(spec.get("isCA"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=hours))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(_usage(is_authority), critical=True)
    )
    if not is_authority:
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in spec["dnsNames"]])
        builder = builder.add_extension(names, critical=not attributes).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
    certificate = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return {
        "tls.crt": certificate,
        "tls.key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ),
        "ca.crt": authority["ca.crt"] if authority else certificate,
    }


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not is_authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _definition(kind: str) -> Object:
    """Return a CRD that takes any spec."""
    any_object: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    singular = kind.lower()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{singular}s.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": f"{singular}s", "singular": singular},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any_object}}},
                }
            ],
        },
    }


def _own_webhook(kind: str, url: str) -> Object:
    rule = {
        "apiGroups": [GROUP],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["*/*"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {
            "name": "cert-manager-webhook",
            "annotations": {f"{GROUP}/inject-ca-from-secret": f"{_NAMESPACE}/cert-manager-webhook-ca"},
        },
        "webhooks": [
            {
                "name": "webhook.cert-manager.io",
                "clientConfig": {"url": url},
                "rules": [rule],
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 30,
            }
        ],
    }
