"""What the server is told at its start: read once, checked once, passed to the parts that need it.

No part reads the environment by itself. The settings hold no secret (secrets are files or
Secret objects), so they may be printed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

LogFormat = Literal["json", "text"]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
PULL_POLICIES: tuple[PullPolicy, ...] = get_args(PullPolicy)

DEFAULT_WEBHOOK_PORT = 9443
DEFAULT_METRICS_PORT = 8080
DEFAULT_MUTATING_CONFIGURATION = "kubedr-mutating-webhook"
DEFAULT_VALIDATING_CONFIGURATION = "kubedr-validating-webhook"
DEFAULT_SELF_SIGNED_SECRET = "kubedr-webhook-tls"
DEFAULT_SERVICE = "kubedr-webhook"


class SettingsError(ValueError):
    """A setting is missing or contradicts another; the message names the option and what to give."""


@dataclass(frozen=True)
class SelfSigned:
    """How the server makes its own certificate authority, where there is no cert-manager."""

    secret: str = DEFAULT_SELF_SIGNED_SECRET
    """The Secret, in the server's namespace, that all replicas share the CA and the certificate by."""

    mutating_configuration: str = DEFAULT_MUTATING_CONFIGURATION
    validating_configuration: str = DEFAULT_VALIDATING_CONFIGURATION
    """The webhook configurations whose `caBundle` is kept."""

    service: str = DEFAULT_SERVICE
    """The Service in front of the webhooks: the certificate is for its DNS names."""

    register_url: str | None = None
    """Outside a cluster: the webhooks' base URL. If given, the server itself applies both webhook
    configurations with this URL (local mode); else they exist already and only their `caBundle` is kept."""


@dataclass(frozen=True)
class Settings:
    """The settings of `kubedr serve`."""

    namespace: str = "kubedr-system"
    """Where the server itself lives: its Lease and its self-signed Secret."""

    kubeconfig: Path | None = None
    """How to reach the API server; from inside a cluster if not given."""

    watch_namespace: str | None = None
    """Reconcile only this namespace; all if not given."""

    bind: str = "0.0.0.0"  # noqa: S104 - in a pod, the Service and the probes come from outside
    port: int = DEFAULT_WEBHOOK_PORT
    """Where the webhooks are served over TLS. Port 0: any free one."""

    metrics_port: int = DEFAULT_METRICS_PORT
    """Where /metrics, /healthz and /readyz are served over plain HTTP. Port 0: any free one."""

    tls_cert_dir: Path | None = None
    """The directory with `tls.crt` and `tls.key`, as a Secret is mounted."""

    self_signed: SelfSigned | None = None
    """Make and rotate a certificate of our own instead of reading one."""

    runner_image: str = ""
    runner_image_pull_policy: PullPolicy = "IfNotPresent"
    runner_image_pull_secrets: tuple[str, ...] = ()
    """The names of the Secrets that the image is pulled with, in the namespace of each backup pod."""

    runner_service_account: str = "kubedr-runner"
    leader_elect: bool = True
    log_format: LogFormat = "json"
    log_level: str = "info"
    drain_seconds: float = 5.0
    """How long the webhooks are still served after the server has told that it is not ready: the time
    that the cluster needs to take the pod out of its endpoints."""

    certificate_poll_seconds: float = 5.0
    """How often the certificate's files are looked at for a change."""

    reference_timeout_seconds: float = 1.0
    """How long the webhooks look for the objects that an object names, before they judge without."""

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        for option, port in (("--port", self.port), ("--metrics-port", self.metrics_port)):
            if not 0 <= port <= 65535:
                raise SettingsError(f"{option} {port} is no port: give a number from 1 to 65535")
        if self.port and self.port == self.metrics_port:
            raise SettingsError(f"--port and --metrics-port are both {self.port}: give two different ports")
        if (self.tls_cert_dir is None) == (self.self_signed is None):
            raise SettingsError(
                "give exactly one of --tls-cert-dir (the mounted Secret of cert-manager) and --self-signed"
            )
        if not self.runner_image:
            raise SettingsError("--runner-image is missing: the image of the backup pods")
