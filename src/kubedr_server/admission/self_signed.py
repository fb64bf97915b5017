"""Shares the self-made certificate between replicas, and tells the API server whom to trust.

Every replica does this; no leader is needed. The Secret's resourceVersion decides whose change
counts when two have the same idea at once, and the loser takes what the winner wrote.
"""

import asyncio
import base64
import binascii
import ipaddress
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509

from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from kubedr_server.kube.resources import MUTATING_WEBHOOKS, SECRETS, VALIDATING_WEBHOOKS, Resource
from kubedr_server.manifests import webhooks
from kubedr_server.ops import certificate_files, self_signed
from kubedr_server.settings import SelfSigned

logger = logging.getLogger(__name__)

FIELD_MANAGER: Final = "kubedr-server"
_ATTEMPTS: Final = 5
_RETRY_SECONDS: Final = 2.0

Data = dict[str, bytes]


class SelfSignedCertificate:
    """Keeps the Secret, the files that are served from, and both configurations' `caBundle`."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        settings: SelfSigned,
        *,
        url: str | None,
        directory: Path,
        now: Callable[[], datetime],
    ) -> None:
        """`url` is where the webhooks are, if we apply the configurations ourselves."""
        self._client = client
        self._namespace = namespace
        self._settings = settings
        self._url = url
        self._directory = directory
        self._now = now
        self._hosts = hosts_of(namespace, settings.service, url)

    async def ensure(self) -> None:
        """Make everything as it should be now. Raises KubeError."""
        data = await self._share()
        # Trusted first, served then.
        await self._publish(data[self_signed.CA_BUNDLE])
        await asyncio.to_thread(
            certificate_files.write,
            self._directory,
            data[self_signed.CERTIFICATE],
            data[self_signed.CERTIFICATE_KEY],
        )

    async def ensure_eventually(self) -> None:
        """Do it as soon as the API server lets us."""
        while True:
            try:
                return await self.ensure()
            except KubeError as error:
                logger.warning("the webhooks' certificate cannot be shared yet", extra={"error": str(error)})
            await asyncio.sleep(_RETRY_SECONDS)

    async def keep(self, seconds: float) -> None:
        """Do it again and again: certificates grow old, and configurations are applied anew."""
        while True:
            await asyncio.sleep(seconds)
            await self.ensure_eventually()

    async def _share(self) -> Data:
        for _ in range(_ATTEMPTS):
            try:
                return await self._share_once()
            except (Conflict, AlreadyExists):
                continue  # another replica was faster: take what it wrote
        return await self._share_once()

    async def _share_once(self) -> Data:
        name = self._settings.secret
        try:
            secret = await self._client.get(SECRETS, self._namespace, name)
        except NotFound:
            data = await asyncio.to_thread(self_signed.plan, {}, self._hosts, self._now())
            await self._client.create(SECRETS, _secret(self._namespace, name, data))
            logger.info("made a certificate authority for the webhooks", extra={"secret": name})
            return data
        before = _decode(secret.get("data") or {})
        data = await asyncio.to_thread(self_signed.plan, before, self._hosts, self._now())
        if data != before:
            await self._client.replace(SECRETS, {**secret, "data": _encode(data)})
            logger.info("renewed the webhooks' certificate", extra={"secret": name})
        return data

    async def _publish(self, bundle: bytes) -> None:
        names = self._settings.mutating_configuration, self._settings.validating_configuration
        if self._url is not None:
            target = webhooks.URLTarget(self._url)
            mutating = webhooks.mutating_configuration(names[0], target, bundle)
            validating = webhooks.validating_configuration(names[1], target, bundle)
            await self._client.apply(MUTATING_WEBHOOKS, mutating, field_manager=FIELD_MANAGER)
            await self._client.apply(VALIDATING_WEBHOOKS, validating, field_manager=FIELD_MANAGER)
            return
        for resource, name in zip((MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS), names, strict=True):
            await self._publish_in(resource, name, bundle)

    async def _publish_in(self, resource: Resource, name: str, bundle: bytes) -> None:
        encoded = base64.b64encode(bundle).decode()
        for _ in range(_ATTEMPTS):
            try:
                configuration = await self._client.get(resource, None, name)
                if _put_bundle(configuration, encoded):
                    await self._client.replace(resource, configuration)
                    logger.info("trusted CAs written", extra={"kind": resource.kind, "configuration": name})
            except Conflict:
                continue
            except NotFound:
                logger.warning(
                    "webhook configuration not found: nothing is checked at kubectl apply before it is there",
                    extra={"kind": resource.kind, "configuration": name},
                )
            return


def _put_bundle(configuration: dict[str, Any], encoded: str) -> bool:
    """Write the bundle into each webhook; returns whether that changed anything."""
    changed = False
    for webhook in configuration.get("webhooks") or ():
        client_config = webhook.setdefault("clientConfig", {})
        if client_config.get("caBundle") != encoded:
            client_config["caBundle"] = encoded
            changed = True
    return changed


def hosts_of(namespace: str, service: str, url: str | None) -> Sequence[x509.GeneralName]:
    """Return the names that the API server calls us by."""
    host = urlsplit(url).hostname if url else None
    if host:
        try:
            return [x509.IPAddress(ipaddress.ip_address(host))]
        except ValueError:
            return [x509.DNSName(host)]
    name = f"{service}.{namespace}"
    return [x509.DNSName(one) for one in (f"{name}.svc", f"{name}.svc.cluster.local", name, service)]


def _secret(namespace: str, name: str, data: Data) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls",
        "data": _encode(data),
    }


def _encode(data: Data) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in data.items()}


def _decode(data: dict[str, str]) -> Data:
    decoded = {}
    for key, value in data.items():
        try:
            decoded[key] = base64.b64decode(value, validate=True)
        except binascii.Error:
            continue  # damaged: it is made anew
    return decoded
