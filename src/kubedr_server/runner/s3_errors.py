"""What an S3 service's refusal means, and what to do about it.

The service's own message is not repeated: it can hold the access key or the signed request.
"""

import re
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError

_UNKNOWN_KEY = {
    "InvalidAccessKeyId",
    "InvalidToken",
    "InvalidSecurity",
    "AuthFailure",
    "InvalidClientTokenId",
}
_WRONG_SECRET = {"SignatureDoesNotMatch"}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "AccessForbidden"}
_NO_BUCKET = {"NoSuchBucket", "InvalidBucketName"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity", "StorageFull"}


def refused(endpoint: str, bucket: str, response: AWSResponse, method: str) -> RunFailureError:
    """Return the failure for an answer that is not a success."""
    status = response.status_code
    code = _code(response)
    if code in _UNKNOWN_KEY:
        return wrong_keys(endpoint, "does not know the access key")
    if code in _WRONG_SECRET:
        return wrong_keys(endpoint, "refuses the secret key: it does not belong to the access key")
    if code in ("RequestTimeTooSkewed", "RequestExpired"):
        return RunFailureError(
            Reason.S3_ACCESS_DENIED,
            f"The storage at {endpoint} refuses requests because this machine's clock is wrong, or its own: "
            "set the clocks (NTP).",
        )
    if code in _NO_BUCKET:
        return no_bucket(endpoint, bucket)
    if code in _FULL or status == 507:
        return storage_full(endpoint)
    if status == 401:
        return wrong_keys(endpoint, "refuses the keys")
    if code in _DENIED or status == 403:
        return access_denied(
            endpoint, bucket, "list the bucket" if method == "GET" else "write to the bucket"
        )
    if b"HTTP request to an HTTPS server" in response.content[:500]:
        return RunFailureError(
            Reason.STORAGE_TLS_FAILED,
            f"The storage at {endpoint} speaks https there: correct spec.url to https://….",
        )
    if code is None and status < 500:
        return not_an_answer(endpoint)
    return RunFailureError(
        Reason.STORAGE_UNREACHABLE,
        f"The storage at {endpoint} answers HTTP {status} ({code or 'no S3 error code'}): "
        "look at the storage service; the run can then be tried again.",
    )


def wrong_keys(endpoint: str, what: str) -> RunFailureError:
    """Return the failure for keys that the storage does not accept."""
    return RunFailureError(
        Reason.WRONG_S3_CREDENTIALS,
        f"The storage at {endpoint} {what}: correct access_key and secret_key in the Secret that "
        "spec.credentials of the BackupLocation names.",
    )


def access_denied(endpoint: str, bucket: str, what: str) -> RunFailureError:
    """Return the failure for keys that are right and may not do what is needed."""
    return RunFailureError(
        Reason.S3_ACCESS_DENIED,
        f"The storage at {endpoint} knows the access key, and does not allow it to {what} '{bucket}': "
        "allow s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there.",
    )


def no_bucket(endpoint: str, bucket: str) -> RunFailureError:
    """Return the failure for a bucket that does not exist."""
    return RunFailureError(
        Reason.BUCKET_NOT_FOUND,
        f"The storage at {endpoint} has no bucket '{bucket}': correct spec.bucketName, or create the bucket.",
    )


def storage_full(endpoint: str) -> RunFailureError:
    """Return the failure for a storage, or a quota in it, that takes no more."""
    return RunFailureError(
        Reason.REPOSITORY_FAILED,
        f"The storage at {endpoint} is full, or the bucket's quota is used up: make room there or raise the "
        "quota. Fewer retained backups free room with the next prune.",
    )


def not_an_answer(endpoint: str) -> RunFailureError:
    """Return the failure for something at the endpoint that is not an S3 service."""
    return RunFailureError(
        Reason.STORAGE_UNREACHABLE,
        f"What answers at {endpoint} is not an S3 service: check host and port of spec.url "
        "(is it the service's web console?).",
    )


def not_reached(endpoint: str, error: BotoCoreError) -> RunFailureError:
    """Return the failure for a request that got no answer."""
    if isinstance(error, ProxyConnectionError):
        return proxy_failed(_cause(f"{error} {error.kwargs.get('error', '')}"))
    if isinstance(error, SSLError):
        return tls_failed(endpoint, _tls_cause(str(error)))
    if isinstance(error, ConnectTimeoutError):
        cause = "no connection within 5 seconds"
    elif isinstance(error, ReadTimeoutError):
        cause = "no answer within 15 seconds"
    else:
        cause = _cause(f"{error} {error.kwargs.get('error', '')}")
    return unreachable(endpoint, cause)


def unreachable(endpoint: str, cause: str) -> RunFailureError:
    """Return the failure for a storage that cannot be talked to."""
    parts = urlsplit(endpoint.removeprefix("rest:"))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    where = f"{parts.hostname} port {port}" if parts.hostname else endpoint
    field = "spec.url" if endpoint.startswith("http") else "spec.repository"
    return RunFailureError(
        Reason.STORAGE_UNREACHABLE,
        f"The storage at {where} cannot be reached: {cause}. Check {field}, the "
        "service, and the network between (name resolution, firewall, NetworkPolicy).",
    )


def proxy_failed(cause: str) -> RunFailureError:
    """Return the failure for a proxy that does not let through to the storage."""
    return RunFailureError(
        Reason.STORAGE_UNREACHABLE,
        f"The proxy does not let through to the storage: {cause}. Check spec.proxy of the BackupLocation, "
        "and whether that proxy allows this host and port.",
    )


def tls_failed(endpoint: str, cause: str) -> RunFailureError:
    """Return the failure for a certificate that cannot be trusted, or no TLS at all."""
    return RunFailureError(
        Reason.STORAGE_TLS_FAILED,
        f"No trusted connection to the storage at {endpoint}: {cause}. If it has a certificate authority "
        "of its "
        "own, put that authority's certificate into a Secret (key ca.crt) and name it in spec.caSecret.",
    )


def _code(response: AWSResponse) -> str | None:
    match = re.search(rb"<Code>([A-Za-z0-9]{1,64})</Code>", response.content[:65536])
    return match[1].decode() if match else None


def _tls_cause(text: str) -> str:
    if match := re.search(r"certificate verify failed: ([^(\]]+)", text):
        return f"its certificate is not accepted ({match[1].strip(' .')})"
    if "record layer failure" in text or "WRONG_VERSION_NUMBER" in text.upper():
        return "it does not speak TLS there (is spec.url an http:// address?)"
    if match := re.search(r"\[SSL[^\]]*\] ([^(\]]+)", text):
        return match[1].strip(" .")
    return "the TLS handshake failed"


def _cause(text: str) -> str:
    if match := re.search(r"\[Errno -?\d+\] ([^')\"\]]+)", text):
        return match[1].strip(" .").lower()
    if "RemoteDisconnected" in text or "closed" in text.lower():
        return "it closed the connection without an answer"
    return "the connection failed"
