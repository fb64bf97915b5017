"""The names of the objects that belong to a custom resource, and how long they may be.

They stand beside the types because admission needs them as much as the manifests: a policy whose
CronJob could not be named must be refused before it is stored.
"""

import hashlib
from typing import Final

MAX_LABEL_VALUE: Final = 63
MAX_JOB_NAME: Final = 63
"""The Job controller writes a Job's name into a label of its pods."""

MAX_CRONJOB_NAME: Final = 52
"""The CronJob controller appends `-` and ten digits to make a Job's name."""

CRONJOB_SUFFIX: Final = "-backup-cronjob"
MAX_POLICY_NAME_LENGTH: Final = MAX_CRONJOB_NAME - len(CRONJOB_SUFFIX)
"""A MetadataBackupPolicy with a longer name could have no CronJob."""

RECORD_PREFIX: Final = "mbr-"
SHORT_SNAPSHOT_ID_LENGTH: Final = 8
_HASH_LENGTH: Final = 8


def backup_cronjob_name(policy: str) -> str:
    """Return the name of a policy's CronJob; ValueError if it would be too long."""
    if len(policy) > MAX_POLICY_NAME_LENGTH:
        raise ValueError(
            f"the policy name '{policy}' has {len(policy)} characters; at most {MAX_POLICY_NAME_LENGTH} "
            f"are possible, because its CronJob is named '<policy>{CRONJOB_SUFFIX}'"
        )
    return policy + CRONJOB_SUFFIX


def record_name(snapshot_id: str) -> str:
    """Return the name of a snapshot's MetadataBackupRecord: `mbr-` and the id's first eight digits."""
    return RECORD_PREFIX + snapshot_id[:SHORT_SNAPSHOT_ID_LENGTH]


def job_name(operation: str, subject: str, *identity: str) -> str:
    """Return a Job's name: the same for the same arguments, another for others, never too long.

    `subject` is the name of the resource that the Job works for and stays readable as far as
    there is room. `identity` is what else tells one run from another, such as a uid or an attempt's key.
    """
    digest = short_hash(subject, *identity)
    room = MAX_JOB_NAME - len(operation) - len(digest) - 2
    readable = subject[:room].rstrip("-.").replace(".", "-")
    return f"{operation}-{readable}-{digest}"


def label_value(name: str) -> str:
    """Return `name` as a label's value: as it is if it fits, else its beginning and a hash of the whole."""
    if len(name) <= MAX_LABEL_VALUE:
        return name
    kept = name[: MAX_LABEL_VALUE - _HASH_LENGTH - 1].rstrip("-._")
    return f"{kept}-{short_hash(name)}"


def short_hash(*parts: str) -> str:
    """Return eight hexadecimal digits that depend on every part and on where each ends."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()[:_HASH_LENGTH]
