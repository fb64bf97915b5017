"""The names that Kubernetes and S3 allow: each function says what is wrong with one, or None.

The sentences about Kubernetes' names are those that its API server prints.
"""

import ipaddress
import re
from typing import Final

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_WORDS: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_NAME_PART: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_NAME_PART_WORDS: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_VALUE_WORDS: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_MAX_SUBDOMAIN: Final = 253
_MAX_NAME_PART: Final = 63

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9]")
_BUCKET_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_BUCKET_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_FOLDER: Final = re.compile(r"[A-Za-z0-9._=-]+")
REPOSITORY_SCHEMES: Final = ("rest", "azure", "gs", "b2", "swift")
"""restic's kinds of storage that need nothing but a network and keys; S3 has its own fields."""

_PRINTABLE: Final = re.compile(r"[!-~]+")
_REGION: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def subdomain(name: str) -> str | None:
    """Check the name of a Kubernetes object (RFC 1123 subdomain)."""
    if len(name) > _MAX_SUBDOMAIN:
        return f"must be no more than {_MAX_SUBDOMAIN} characters"
    return None if _SUBDOMAIN.fullmatch(name) else _SUBDOMAIN_WORDS


def qualified_name(name: str) -> str | None:
    """Check a label's key: `[prefix/]name`."""
    prefix, slash, last = name.rpartition("/")
    if "/" in prefix:
        return (
            "a qualified name "
            + _NAME_PART_WORDS.removeprefix("name part ")
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
    if slash and not prefix:
        return "prefix part must be non-empty"
    if slash and (wrong := subdomain(prefix)):
        return f"prefix part {wrong}"
    if not last:
        return "name part must be non-empty"
    if len(last) > _MAX_NAME_PART:
        return f"name part must be no more than {_MAX_NAME_PART} characters"
    return None if _NAME_PART.fullmatch(last) else _NAME_PART_WORDS


def label_value(value: str) -> str | None:
    """Check a label's value."""
    if len(value) > _MAX_NAME_PART:
        return f"must be no more than {_MAX_NAME_PART} characters"
    return None if _LABEL_VALUE.fullmatch(value) else _LABEL_VALUE_WORDS


def bucket(name: str) -> str | None:
    """Check an S3 bucket's name, by S3's rules for general purpose buckets."""
    if not 3 <= len(name) <= 63:
        return "must be from 3 to 63 characters long"
    if not _BUCKET.fullmatch(name):
        return (
            "a bucket's name must consist of lower case letters, digits, '-' and '.', and must start and end "
            "with a letter or digit"
        )
    if ".." in name:
        return "a bucket's name must not have two dots in a row"
    if _is_ipv4(name):
        return "a bucket's name must not look like an IP address"
    for prefix in _BUCKET_PREFIXES:
        if name.startswith(prefix):
            return f"a bucket's name must not start with '{prefix}', which S3 keeps for itself"
    for suffix in _BUCKET_SUFFIXES:
        if name.endswith(suffix):
            return f"a bucket's name must not end with '{suffix}', which S3 keeps for itself"
    return None


def folder(prefix: str) -> str | None:
    """Check a folder in a bucket: relative, and the same however it is read."""
    if prefix.startswith("/") or prefix.endswith("/"):
        return "must not start or end with '/'"
    for part in prefix.split("/"):
        if not part:
            return "must not have two '/' in a row"
        if part in (".", ".."):
            return f"must not have '{part}' as a part"
        if not _FOLDER.fullmatch(part):
            return "must consist of letters, digits, '-', '_', '.' and '=', in parts separated by '/'"
    return None


def repository(name: str) -> str | None:
    """Check restic's name of a repository on storage other than S3."""
    scheme, _, rest = name.partition(":")
    if scheme not in REPOSITORY_SCHEMES or not rest:
        known = ", ".join(f"{one}:" for one in REPOSITORY_SCHEMES)
        return f"must begin with one of {known}; an S3 bucket goes into url and bucketName"
    if not _PRINTABLE.fullmatch(rest):
        return "must not contain spaces, control characters or any beyond ASCII"
    if "@" in rest:
        return "must not contain a user name or password: credentials belong in the Secret"
    if scheme == "rest" and not re.match(r"https?://[^/]", rest):
        return "must name a REST server by its URL, as in rest:https://backup.example.com:8000/cluster"
    return None


def region(name: str) -> str | None:
    """Check an S3 region's name."""
    if _REGION.fullmatch(name):
        return None
    return "must consist of letters, digits, '-', '_' and '.', and must start and end with a letter or digit"


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
