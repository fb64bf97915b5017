"""`kubedr serve`: options and environment to settings, signals to an orderly end."""

import asyncio
import os
import signal
from pathlib import Path

import click

from kubedr_server import server
from kubedr_server.kube.errors import KubeError
from kubedr_server.ops import logging as ops_logging
from kubedr_server.ops.garbage import collect_seldom
from kubedr_server.ops.tls import CertificateError
from kubedr_server.settings import (
    DEFAULT_METRICS_PORT,
    DEFAULT_MUTATING_CONFIGURATION,
    DEFAULT_SELF_SIGNED_SECRET,
    DEFAULT_SERVICE,
    DEFAULT_VALIDATING_CONFIGURATION,
    DEFAULT_WEBHOOK_PORT,
    PULL_POLICIES,
    LogFormat,
    PullPolicy,
    SelfSigned,
    Settings,
    SettingsError,
)

_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(context_settings={"auto_envvar_prefix": "KUBEDR", "show_default": True})
@click.option("--kubeconfig", type=_FILE, help="How to reach the API server; if not given, as a pod does.")
@click.option("--namespace", default="kubedr-system", help="The server's own namespace.")
@click.option("--watch-namespace", help="Reconcile only this namespace; all if not given.")
@click.option("--bind", default="0.0.0.0", help="The address to listen on.")  # noqa: S104 - a pod's Service calls
@click.option("--port", type=int, default=DEFAULT_WEBHOOK_PORT, help="The webhooks' port (TLS).")
@click.option(
    "--metrics-port",
    type=int,
    default=DEFAULT_METRICS_PORT,
    help="The port of /metrics, /healthz and /readyz (plain HTTP).",
)
@click.option("--tls-cert-dir", type=_DIRECTORY, help="The directory with tls.crt and tls.key.")
@click.option("--self-signed", is_flag=True, help="Make, share and rotate a certificate of our own.")
@click.option("--self-signed-secret", default=DEFAULT_SELF_SIGNED_SECRET, help="The Secret it is shared by.")
@click.option("--service", default=DEFAULT_SERVICE, help="The webhooks' Service: the certificate is for it.")
@click.option(
    "--mutating-webhook-config-name",
    default=DEFAULT_MUTATING_CONFIGURATION,
    help="The MutatingWebhookConfiguration whose caBundle is kept.",
)
@click.option(
    "--validating-webhook-config-name",
    default=DEFAULT_VALIDATING_CONFIGURATION,
    help="The ValidatingWebhookConfiguration whose caBundle is kept.",
)
@click.option(
    "--register-url",
    help="Outside a cluster, with --self-signed: apply both webhook configurations with this base URL.",
)
@click.option("--runner-image", default="", help="The image of the backup pods.")
@click.option(
    "--runner-image-pull-policy",
    type=click.Choice(PULL_POLICIES),
    default="IfNotPresent",
    help="When nodes pull it.",
)
@click.option(
    "--runner-image-pull-secret",
    multiple=True,
    help="A Secret that it is pulled with, in each namespace with policies. May be given again.",
)
@click.option("--runner-service-account", default="kubedr-runner", help="Their service account.")
@click.option("--leader-elect/--no-leader-elect", default=True, help="Reconcile only while leading.")
@click.option("--drain-seconds", type=float, default=5.0, help="How long to serve on after SIGTERM.")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json")
@click.option("--log-level", type=click.Choice(ops_logging.LEVELS), default="info")
def serve(
    kubeconfig: Path | None,
    namespace: str,
    watch_namespace: str | None,
    bind: str,
    port: int,
    metrics_port: int,
    tls_cert_dir: Path | None,
    self_signed: bool,
    self_signed_secret: str,
    service: str,
    mutating_webhook_config_name: str,
    validating_webhook_config_name: str,
    register_url: str | None,
    runner_image: str,
    runner_image_pull_policy: PullPolicy,
    runner_image_pull_secret: tuple[str, ...],
    runner_service_account: str,
    leader_elect: bool,
    drain_seconds: float,
    log_format: LogFormat,
    log_level: str,
) -> None:
    """Serve the admission webhooks and run the controllers.

    Every option can be given in the environment, too: --runner-image is KUBEDR_RUNNER_IMAGE. The values of
    an option that may be given again have spaces between them there.
    """
    certificates = SelfSigned(
        secret=self_signed_secret,
        mutating_configuration=mutating_webhook_config_name,
        validating_configuration=validating_webhook_config_name,
        service=service,
        register_url=register_url,
    )
    try:
        settings = Settings(
            namespace=namespace,
            kubeconfig=kubeconfig,
            watch_namespace=watch_namespace,
            bind=bind,
            port=port,
            metrics_port=metrics_port,
            tls_cert_dir=tls_cert_dir,
            self_signed=certificates if self_signed else None,
            runner_image=runner_image,
            runner_image_pull_policy=runner_image_pull_policy,
            runner_image_pull_secrets=runner_image_pull_secret,
            runner_service_account=runner_service_account,
            leader_elect=leader_elect,
            drain_seconds=drain_seconds,
            log_format=log_format,
            log_level=log_level,
        )
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    ops_logging.set_up(settings.log_format, settings.log_level)
    try:
        asyncio.run(_serve(settings))
    except (OSError, CertificateError, KubeError, server.ServerFailedError) as error:
        raise click.ClickException(str(error)) from error


async def _serve(settings: Settings) -> None:
    collect_seldom()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            os._exit(130)  # asked twice: at once
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await server.run(settings, stop=stop)
