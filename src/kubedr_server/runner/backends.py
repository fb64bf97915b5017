"""Storage that is not S3: what restic takes from its environment for it, and nothing else.

The Secret of such a location has keys that are named as restic's own variables. Only the names that are
listed here are read from it, each only for its own kind of storage: a Secret must not be able to set, say,
restic's password command.
"""

import re
from typing import Final

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError

GOOGLE_CREDENTIALS: Final = "GOOGLE_APPLICATION_CREDENTIALS"
"""A JSON file: restic is given the path of the Secret's mounted file, not its content."""

_SWIFT = (
    "ST_AUTH",
    "ST_USER",
    "ST_KEY",
    *(
        f"OS_{name}"
        for name in (
            "APPLICATION_CREDENTIAL_ID",
            "APPLICATION_CREDENTIAL_NAME",
            "APPLICATION_CREDENTIAL_SECRET",
            "AUTH_TOKEN",
            "AUTH_URL",
            "PASSWORD",
            "PROJECT_DOMAIN_ID",
            "PROJECT_DOMAIN_NAME",
            "PROJECT_NAME",
            "REGION_NAME",
            "STORAGE_URL",
            "TENANT_ID",
            "TENANT_NAME",
            "TRUST_ID",
            "USER_DOMAIN_ID",
            "USER_DOMAIN_NAME",
            "USER_ID",
            "USERNAME",
        )
    ),
)
_VARIABLES: Final[dict[str, tuple[str, ...]]] = {
    "rest": ("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"),
    "azure": ("AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY", "AZURE_ACCOUNT_SAS", "AZURE_ENDPOINT_SUFFIX"),
    "gs": ("GOOGLE_PROJECT_ID", GOOGLE_CREDENTIALS),
    "b2": ("B2_ACCOUNT_ID", "B2_ACCOUNT_KEY"),
    "swift": _SWIFT,
}

_REFUSED = re.compile(
    r"401 Unauthorized|\(401\)|AuthenticationFailed|bad_auth_token|Authorization Failed|invalid_grant|"
    r"could not find default credentials",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"403 Forbidden|\(403\)|AuthorizationFailure|AuthorizationPermissionMismatch", re.IGNORECASE
)
_NO_CONTAINER = re.compile(
    r"ContainerNotFound|bucket (?:does not|doesn't) exist|Container Not Found", re.IGNORECASE
)


def variables_of(url: str) -> tuple[str, ...]:
    """Return the names of the variables that restic knows for a repository's kind of storage."""
    return _VARIABLES.get(url.partition(":")[0], ())


def diagnose(text: str, url: str) -> RunFailureError | None:
    """Return what restic's words say about storage that is not S3; None if they say nothing known."""
    names = ", ".join(variables_of(url)[:4]) or "the storage's credentials"
    if _REFUSED.search(text):
        return RunFailureError(
            Reason.WRONG_S3_CREDENTIALS,
            f"The storage of {url} does not accept the credentials: correct the keys ({names}) in the Secret "
            "that spec.credentials of the BackupLocation names.",
        )
    if _DENIED.search(text):
        return RunFailureError(
            Reason.S3_ACCESS_DENIED,
            f"The storage of {url} does not allow what is needed: allow these credentials to list, read, "
            "write and delete there.",
        )
    if _NO_CONTAINER.search(text):
        return RunFailureError(
            Reason.BUCKET_NOT_FOUND,
            f"There is no container or bucket as {url} names it: correct spec.repository, or create it.",
        )
    return None
