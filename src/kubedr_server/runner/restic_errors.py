"""Tells restic's failures apart, while it still runs and after it has ended.

restic keeps trying for about fifteen minutes whatever the storage says. The cause is on its standard
error at once, in lines like `Stat(<config/>) returned error, retrying after 932ms: Stat: <cause>`. A cause
that time does not mend ends the run at the first such line; a storage that is away gets a few seconds,
because it may just be restarting; anything else (a 503, a reset) is restic's to retry, and is told in the
log.
"""

import re
from collections.abc import Callable

from kubedr_server.api.conditions import Reason
from kubedr_server.runner import backends
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log, one_line
from kubedr_server.runner.s3_errors import (
    access_denied,
    no_bucket,
    proxy_failed,
    storage_full,
    tls_failed,
    unreachable,
    wrong_keys,
)

UNREACHABLE_PATIENCE_SECONDS = 15.0
_QUIET_SECONDS = 12.0
"""Longer than this without such a line, and the storage was reached in between."""

_RETRY = re.compile(r"returned error, retrying after [^:]+: (?P<cause>.*)")

_WRONG_KEY = re.compile(
    r"access key ID you provided does not exist|InvalidAccessKeyId|access key Id .* does not exist",
    re.IGNORECASE,
)
_WRONG_SECRET = re.compile(
    r"request signature we calculated does not match|SignatureDoesNotMatch", re.IGNORECASE
)
_DENIED = re.compile(r"access ?denied|403 Forbidden", re.IGNORECASE)
_NO_BUCKET = re.compile(r"specified bucket does not exist|NoSuchBucket", re.IGNORECASE)
_TLS = re.compile(r"(x509: [^\n]*|tls: failed to verify certificate[^\n]*|HTTP response to HTTPS client)")
_PLAIN_HTTP = re.compile(r"HTTP request to an HTTPS server")
_AWAY = re.compile(
    r"(connection refused|no such host|no route to host|network is unreachable|i/o timeout|"
    r"Temporary failure in name resolution)"
)
_PROXY = re.compile(r"(proxyconnect [^\n]*|Proxy Authentication Required)")
_FULL = re.compile(
    r"XMinioStorageFull|minimum free drive|QuotaExceeded|quota (?:has been |is )?exceeded|507 Insufficient|"
    r"InsufficientCapacity|StorageFull",
    re.IGNORECASE,
)
_NOT_ITS_KEY = re.compile(r"config or key \w+ is damaged: ciphertext verification failed")
_DISK_FULL = re.compile(r"no space left on device|disk quota exceeded|file too large")
_DISK_FAILED = re.compile(r"input/output error|read-only file system")
_NO_BACKEND = re.compile(r"invalid backend")
_LOCKED = re.compile(r"repository is already locked (?:exclusively )?by (PID \d+ on \S+ by \S+)")


def diagnose(text: str, endpoint: str, bucket: str) -> RunFailureError | None:
    """Return what a text of restic's says about the storage; None if it says nothing that is known.

    Where the storage is not S3, `bucket` is empty and `endpoint` is the repository.
    """
    refused = _refused_by_s3(text, endpoint, bucket) if bucket else backends.diagnose(text, endpoint)
    if refused is not None:
        return refused
    if match := _TLS.search(text):
        return tls_failed(endpoint, one_line(match[1])[:200])
    if _PLAIN_HTTP.search(text):
        return tls_failed(endpoint, "it speaks https there, and spec.url says http://")
    if match := _PROXY.search(text):
        return proxy_failed(one_line(match[1])[:200])
    if match := _AWAY.search(text):
        return unreachable(endpoint, match[1])
    return None


def _refused_by_s3(text: str, endpoint: str, bucket: str) -> RunFailureError | None:
    if _WRONG_KEY.search(text):
        return wrong_keys(endpoint, "does not know the access key")
    if _WRONG_SECRET.search(text):
        return wrong_keys(endpoint, "refuses the secret key: it does not belong to the access key")
    if _NO_BUCKET.search(text):
        return no_bucket(endpoint, bucket)
    if _DENIED.search(text):
        return access_denied(endpoint, bucket, "read or write in the bucket")
    return storage_full(endpoint) if _FULL.search(text) else None


class RetryWatch:
    """Reads restic's standard error, line by line, while it runs. `monotonic` returns seconds."""

    def __init__(self, endpoint: str, bucket: str, log: Log, monotonic: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._bucket = bucket
        self._log = log
        self._monotonic = monotonic
        self._away_since: float | None = None
        self._away_last = 0.0

    def __call__(self, line: str) -> None:
        """Take a line; RunFailureError if there is no point in waiting on."""
        match = _RETRY.search(line)
        if match is None:
            return
        failure = diagnose(match["cause"], self._endpoint, self._bucket)
        if failure is not None and (
            failure.reason is not Reason.STORAGE_UNREACHABLE or self._waited_enough()
        ):
            raise failure
        self._log.caution(f"restic is trying again: {one_line(line)[:300]}")

    def _waited_enough(self) -> bool:
        now = self._monotonic()
        if self._away_since is None or now - self._away_last > _QUIET_SECONDS:
            self._away_since = now
        self._away_last = now
        return now - self._away_since >= UNREACHABLE_PATIENCE_SECONDS


def ended(returncode: int, message: str, endpoint: str, bucket: str, repository: str) -> RunFailureError:
    """Return the failure for an exit code other than 0 and 3 (3 is the backup's own to explain).

    `message` is restic's own last word.
    """
    if returncode == 10:
        fields = "spec.url, spec.bucketName and spec.prefix" if bucket else "spec.repository"
        return RunFailureError(
            Reason.REPOSITORY_NOT_FOUND,
            f"There is no repository at {repository}: check {fields} of the BackupLocation. It is never made "
            "anew by a backup or a restore.",
        )
    if returncode == 11:
        match = _LOCKED.search(message)
        owner = match[1] if match else "another process"
        return RunFailureError(
            Reason.REPOSITORY_LOCKED,
            f"The repository {repository} is locked by {owner}. If that run is dead, its lock is removed by "
            "the first run that starts 30 minutes after its last sign of life.",
        )
    if returncode == 12:
        return RunFailureError(
            Reason.WRONG_REPOSITORY_PASSWORD,
            f"The repository {repository} exists, and restic_repo_password does not open it: put the "
            "password it was made with into the Secret that spec.credentials of the BackupLocation names.",
        )
    if _NOT_ITS_KEY.search(message):
        return RunFailureError(
            Reason.REPOSITORY_FAILED,
            f"The config of the repository {repository} and its key do not belong together "
            f"({one_line(message)[:200]}). If it holds no backup yet, two initialisations have met: empty "
            "the place, and it is made anew. Else the storage has damaged one of the two: bring back the "
            "objects 'config' and 'keys/…' from a copy or the bucket's versions.",
        )
    if _NO_BACKEND.search(message):
        kind = repository.partition(":")[0]
        return RunFailureError(
            Reason.PROGRAM_MISSING,
            f"The restic of this image was built without support for '{kind}:' storage, as Debian's is "
            "for azure: build the backup image with restic's own release.",
        )
    if returncode == 130:
        return RunFailureError(
            Reason.CANCELLED, "restic was interrupted from outside before it was done: run it again."
        )
    if returncode < 0:
        return RunFailureError(
            Reason.REPOSITORY_FAILED,
            f"restic was killed by signal {-returncode}, perhaps for want of memory: look at the pod's "
            "limits (spec.resources of the policy) and the node's log.",
        )
    if _DISK_FULL.search(message):
        return RunFailureError(Reason.DISK_FULL, f"restic found no room left: {one_line(message)[:300]}.")
    if _DISK_FAILED.search(message):
        return RunFailureError(
            Reason.DISK_FAILED,
            f"restic cannot use a disk: {one_line(message)[:300]}. Look at the log of the node's kernel.",
        )
    known = diagnose(message, endpoint, bucket)
    if known is not None:
        return known
    return RunFailureError(
        Reason.REPOSITORY_FAILED,
        f"restic ended with exit code {returncode} on {repository}: {one_line(message)[:500]}",
    )
