"""The chart's default: the certificate is cert-manager's, and so is what the API server trusts."""

import base64
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kubedr_server.ops import certificate_files
from support.admission import policy
from support.apiserver import assets
from support.cert_manager import CertManager, running, until
from support.chart_release import (
    CHART,
    CONFIGURATION,
    NAMESPACE,
    RELEASE,
    SETTINGS,
    Release,
    embedded_api,
    real_api,
    settings,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

APIS = ["embedded", *(["kube-apiserver"] if assets() else [])]
CERTIFICATE = f"{RELEASE}-webhook"
AUTHORITY = f"{RELEASE}-webhook-ca"
HOST = f"{RELEASE}-webhook.{NAMESPACE}.svc"


@dataclass
class Mounted(Release):
    """A release whose server finds the Secret where the kubelet would have mounted it."""

    mount: Path = field(default_factory=Path)

    def arguments(self) -> list[str]:
        """Return the Deployment's arguments, with the mount's place on this machine."""
        given = super().arguments()
        assert "--tls-cert-dir=/tls" in given
        return [each.replace("/tls", str(self.mount)) if "tls-cert-dir" in each else each for each in given]

    def sync(self) -> None:
        """Write the Secret that the Deployment mounts into the directory, as the kubelet does."""
        pod = self.kubectl.get("deployment", f"{RELEASE}-server")["spec"]["template"]["spec"]
        (name,) = [each["secret"]["secretName"] for each in pod["volumes"] if each["name"] == "tls"]
        data = self.kubectl.get("secret", name)["data"]
        certificate_files.write(self.mount, *(base64.b64decode(data[key]) for key in ("tls.crt", "tls.key")))

    def in_secret(self) -> bytes:
        """Return the certificate of the Secret as DER."""
        data = self.kubectl.get("secret", f"{RELEASE}-webhook-tls")["data"]
        return ssl.PEM_cert_to_DER_cert(base64.b64decode(data["tls.crt"]).decode())

    def served(self) -> bytes:
        """Return the certificate that the server gives now, as DER."""
        pem = ssl.get_server_certificate(("127.0.0.1", self.webhook_port))
        return ssl.PEM_cert_to_DER_cert(pem)

    def bundles(self) -> list[str]:
        """Return what the API server trusts, by configuration."""
        kinds = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")
        found = [self.kubectl.get(kind, CONFIGURATION)["webhooks"][0]["clientConfig"] for kind in kinds]
        return [each.get("caBundle", "") for each in found]


@pytest.fixture(params=APIS)
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mounted]:
    programs = assets()
    if request.param == "embedded" or programs is None:
        started = embedded_api(tmp_path)
    else:
        started = real_api(tmp_path, programs)
    with started as found:
        yield Mounted(**vars(found), mount=tmp_path / "mount")


@pytest.fixture
def manager(release: Mounted, tmp_path: Path) -> Iterator[CertManager]:
    with running(release.kubectl, tmp_path, release.kind) as found:
        yield found


def test_its_certificate_is_served_and_trusted_before_and_after_all_of_it_is_renewed(
    release: Mounted, manager: CertManager
) -> None:
    manager.install()
    values = {**SETTINGS, "tls.mode": "cert-manager"}
    release.helm("install", RELEASE, str(CHART), "--create-namespace", *settings(values))
    release.connect()
    for name in (AUTHORITY, CERTIFICATE):
        manager.issue(name)
    until(lambda: all(release.bundles()), "the CA was not injected")
    release.sync()
    with release.serving():
        _assert_asked(release)
        trusted = release.bundles()

        manager.renew(CERTIFICATE)
        assert release.bundles() == trusted
        manager.renew(AUTHORITY)
        manager.renew(CERTIFICATE)
        until(lambda: not set(release.bundles()) & set(trusted), "the new CA was not injected")
        assert release.served() != release.in_secret(), "the kubelet has not been there yet"
        _assert_asked(release)
        release.sync()
        until(lambda: release.served() == release.in_secret(), "the renewed certificate is not served")
        _assert_asked(release)


def _assert_asked(release: Mounted) -> None:
    """Show that the API server trusts the webhooks, and does as they say."""
    before = _asked(release)
    refusal = release.kubectl.refusal(policy(schedule="0 25 * * *"))
    assert 'spec.schedule: Invalid value: "0 25 * * *"' in refusal
    assert _asked(release) == [count + 1 for count in before]


def _asked(release: Mounted) -> list[float]:
    name = "kubedr_admission_reviews_total"
    return [release.sample(name, webhook=webhook) for webhook in ("mutate", "validate")]
