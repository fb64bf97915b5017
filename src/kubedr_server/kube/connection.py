"""Where the API server is and who we are: a kubeconfig file, or a pod's service account.

kubernetes-asyncio reads both. This module adds what a long-lived process needs: a failure
that says which file is wrong without quoting it (a kubeconfig holds keys and tokens), and credentials that
can be renewed while running, because tokens from files and plugins expire.
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

from kubedr_server.kube.errors import ConfigurationError

logger = logging.getLogger(__name__)

_MIN_SECONDS_BETWEEN_RENEWALS = 10.0
_TELLING = ("exec:", "File does not exists:", "Service ", "Token file", "Cert file")
"""How those messages of kubernetes-asyncio begin that quote nothing of the file."""


class Connection:
    """The API server's address, how to trust it, and credentials that can be renewed.

    `configuration` is kubernetes-asyncio's; `load` makes a new one of the same source.
    """

    def __init__(
        self,
        configuration: Any,
        load: Callable[[], Awaitable[Any]] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.configuration = configuration
        self._load = load
        self._clock = clock
        self._renewed = clock()

    @property
    def server(self) -> str:
        """The API server's URL, without a slash at its end."""
        return str(self.configuration.host).rstrip("/")

    async def authorization(self) -> str | None:
        """Return the Authorization header's value, or None where a client certificate says who we are."""
        # In a pod, this reads the token's file again once a minute: the kubelet renews it.
        value = await self.configuration.get_api_key_with_prefix("BearerToken")
        return str(value).strip() if value else None

    async def renew(self, refused: str | None) -> bool:
        """Read the credentials again because the server refused the header value `refused`.

        Returns whether there are other ones now. Does nothing within seconds of the last time, so that
        a revoked token does not start a credential plugin with each request.
        """
        if await self.authorization() != refused:
            return True  # another request has renewed them meanwhile
        now = self._clock()
        if self._load is None or now - self._renewed < _MIN_SECONDS_BETWEEN_RENEWALS:
            return False
        self._renewed = now
        fresh = await self._load()
        token = fresh.api_key.get("BearerToken")
        if not token or token.strip() == refused:
            return False
        self.configuration.api_key["BearerToken"] = token
        logger.info("read the credentials for %s again", self.server)
        return True


async def from_kubeconfig(path: str | Path | None = None, context: str | None = None) -> Connection:
    """Read a kubeconfig: `path`, else $KUBECONFIG (several files, as kubectl), else ~/.kube/config.

    Raises ConfigurationError naming the file and what is wrong with it, never its contents.
    """
    paths = str(path) if path is not None else os.environ.get("KUBECONFIG", "")
    paths = paths or str(Path.home() / ".kube" / "config")
    if not _any_exists(paths):
        raise ConfigurationError(
            f"there is no kubeconfig at {paths}; name one with --kubeconfig or $KUBECONFIG"
        )

    async def load() -> Any:
        configuration = Configuration()
        try:
            await load_kube_config(
                config_file=paths, context=context, client_configuration=configuration, persist_config=False
            )
        except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(_told(paths, context, error)) from None
        except (AttributeError, AssertionError):
            raise ConfigurationError(_told(paths, context, None)) from None
        return configuration

    return Connection(await load(), load)


def in_cluster() -> Connection:
    """Use the pod's service account. Raises ConfigurationError where there is none."""
    configuration = Configuration()
    load: Any = load_incluster_config  # has no annotations
    try:
        load(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise ConfigurationError(
            f"the pod's service account cannot be used: {error} "
            "Outside of a cluster name a kubeconfig with --kubeconfig or $KUBECONFIG."
        ) from None
    return Connection(configuration)


def _any_exists(paths: str) -> bool:
    return any(part and Path(part).expanduser().is_file() for part in paths.split(os.pathsep))


def _told(paths: str, context: str | None, error: Exception | None) -> str:
    where = f"kubeconfig {paths}" + (f", context {context}" if context else "")
    if isinstance(error, ConfigException) and str(error).startswith(_TELLING):
        return f"{where}: {error}"
    if isinstance(error, OSError):
        return f"{where} cannot be read: {error.strerror}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{where} is not YAML: {error.problem} in line {error.problem_mark.line + 1}"
    return (
        f"{where} is not complete: check that the context, its cluster and its user are in it "
        "(`kubectl config view`)"
    )
