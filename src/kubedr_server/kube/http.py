"""The HTTP client below the transport: kubernetes-asyncio's, without what it does anew for each request.

Its session asks the environment for a proxy and ~/.netrc for a password with each request, each time in a
thread: a third of what a request costs. The proxy does not change while a process runs, and a password for a
browser or for git is not one to send to an API server.
"""

import urllib.request
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from kubernetes_asyncio.client.rest import RESTClientObject

_READ_BYTES = 2**21
"""The read buffer, as kubernetes-asyncio has it: an event of a watch can be as large as an object in etcd."""


def http_client(configuration: Any) -> Any:
    """Return a client, made inside a running event loop. Bad certificates raise OSError or ValueError."""
    http: Any = RESTClientObject(configuration)
    connector = http.pool_manager.connector
    http.pool_manager.detach()
    http.pool_manager = aiohttp.ClientSession(connector=connector, read_bufsize=_READ_BYTES)
    http.proxy = http.proxy or environment_proxy(configuration.host)
    return http


def environment_proxy(url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a server, or None."""
    where = urlsplit(url)
    host = where.netloc.rpartition("@")[2]
    if urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(where.scheme)
