"""Calling one webhook: an AdmissionReview over HTTPS, verified by the configuration's own CA bundle."""

import asyncio
import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from kubedr_server.local.api.webhook_match import Webhook

MAX_ANSWER = 8 * 1024 * 1024


class CallError(Exception):
    """The webhook did not give an answer that can be used."""


@dataclass(frozen=True)
class Answer:
    """What a webhook said."""

    allowed: bool
    status: Mapping[str, Any]
    patch: list[Any]
    warnings: list[str]


class WebhookClient:
    """Calls webhooks; keeps connections open between calls.

    `services` says where a Service is found, as `namespace/name` -> `https://host:port`: there
    is no cluster network here. Its certificate is still checked for `name.namespace.svc`.
    """

    def __init__(self, services: Mapping[str, str]) -> None:
        self._services = services
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _where(self, webhook: Webhook) -> tuple[str, str | None]:
        """Return a webhook's URL, and the name in its certificate if that is not the URL's host."""
        client = webhook.spec["clientConfig"]
        if client.get("url"):
            return str(client["url"]), None
        service = client["service"]
        known = f"{service['namespace']}/{service['name']}"
        base = self._services.get(known)
        if base is None:
            raise CallError(
                f'failed to call webhook: no address is known for the service "{known}" in local mode'
            )
        path = str(service.get("path") or "/")
        return base.rstrip("/") + "/" + path.lstrip("/"), f"{service['name']}.{service['namespace']}.svc"

    def _context(self, bundle: str) -> ssl.SSLContext:
        if bundle not in self._contexts:
            try:
                pem = base64.b64decode(bundle, validate=True).decode() if bundle else None
                self._contexts[bundle] = ssl.create_default_context(cadata=pem)
            except (ValueError, ssl.SSLError) as error:
                raise CallError(
                    f"failed to call webhook: unable to load root certificates: {error}"
                ) from None
        return self._contexts[bundle]

    async def call(self, webhook: Webhook, request: Mapping[str, Any]) -> Answer:
        """Send a request for review and return the answer. Raises CallError."""
        url, server_name = self._where(webhook)
        context = self._context(str(webhook.spec["clientConfig"].get("caBundle") or ""))
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
        full = f"{url}{'&' if '?' in url else '?'}timeout={webhook.timeout}s"
        try:
            async with (
                asyncio.timeout(webhook.timeout),
                self._session.post(full, json=review, ssl=context, server_hostname=server_name,
                                   allow_redirects=False) as response,
            ):  # fmt: skip
                body = await response.content.read(MAX_ANSWER)
                if response.status != 200:
                    text = body[:256].decode(errors="replace").strip()
                    raise CallError(f"failed to call webhook: the server returned {response.status}: {text}")
        except TimeoutError:
            raise CallError(f'failed to call webhook: Post "{full}": context deadline exceeded') from None
        except (aiohttp.ClientError, OSError) as error:
            raise CallError(f'failed to call webhook: Post "{full}": {_why(error)}') from None
        return _read(body, str(request["uid"]))


def _why(error: Exception) -> str:
    """Return a connection's failure without the client's own objects."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    return str(error) or type(error).__name__


def _read(body: bytes, uid: str) -> Answer:
    """Return the answer in an AdmissionReview. Raises CallError for what is none."""
    try:
        review = json.loads(body)
        response = review["response"]
        patch_text = response.get("patch")
        patch = json.loads(base64.b64decode(patch_text)) if patch_text else []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CallError(f"received invalid webhook response: {error}") from None
    if review.get("kind") != "AdmissionReview" or review.get("apiVersion") != "admission.k8s.io/v1":
        found = f"{review.get('apiVersion')}, Kind={review.get('kind')}"
        wanted = "admission.k8s.io/v1, Kind=AdmissionReview"
        raise CallError(f"received invalid webhook response: expected {wanted}, got {found}")
    if response.get("uid") != uid:
        found = f'expected response.uid="{uid}", got "{response.get("uid")}"'
        raise CallError(f"received invalid webhook response: {found}")
    if patch and response.get("patchType") != "JSONPatch":
        raise CallError("received invalid webhook response: response.patch without patchType JSONPatch")
    return Answer(
        allowed=bool(response.get("allowed")),
        status=response.get("status") or {},
        patch=patch,
        warnings=[str(text) for text in response.get("warnings") or []],
    )
