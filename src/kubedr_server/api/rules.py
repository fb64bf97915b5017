r"""The CEL rules of the CRDs: what a value must look like, where a length or an enumeration does not say it.

The API server checks them before it asks the validating webhook, and also while the webhook is down. A
message follows on `spec.field: Invalid value: …`; it says what is right and where the rest belongs.

Rules keep to CEL's own functions (`matches`, `all`, `size`) and to regular expressions without
look-around, so that any evaluator can check them, not only the API server's. In a CEL string a
backslash is written twice.
"""

from typing import Any, Final

from kubedr_server.api.names import CRONJOB_SUFFIX, MAX_CRONJOB_NAME, MAX_POLICY_NAME_LENGTH

VALIDATIONS: Final = "x-kubernetes-validations"


def cel(rule: str, message: str, **more: str) -> dict[str, Any]:
    """Attach one CEL rule to a model or a field: `json_schema_extra=cel("self == oldSelf", "is immutable")`.

    `more` takes the other keys of `x-kubernetes-validations`, such as `fieldPath` and `reason`.
    """
    return {VALIDATIONS: [{"rule": rule, "message": message, **more}]}


def all_of(*rules: dict[str, Any]) -> dict[str, Any]:
    """Join rules made by `cel` into one `json_schema_extra`: all of them must hold."""
    return {VALIDATIONS: [rule for each in rules for rule in each[VALIDATIONS]]}


_AUTHORITY: Final = r"([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?"
_ETCD_URL: Final = f"https://{_AUTHORITY}/?"
_NO_DOT_SEGMENT: Final = "!self.matches('(^|/)[.][.]?(/|$)')"

OBJECT_NAME: Final = cel(
    "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')",
    "must be the name of an object: lower-case letters, digits, '-' and '.', "
    "with a letter or digit at both ends of each part",
)

STORAGE_URL: Final = cel(
    f"self.matches('^https?://{_AUTHORITY}/?$')",
    "must be http:// or https:// and a host, with a port if it is not the scheme's own, "
    "such as https://s3.example.com or http://10.96.57.3:9000; no user, path, query or fragment: "
    "the bucket goes into bucketName, a folder of it into prefix, the keys into the Secret",
)

BUCKET_NAME: Final = all_of(
    cel(
        "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$') &&\n!self.matches('[.][.]')",
        "must be a bucket's name as S3 allows it: lower-case letters, digits, '-' and '.', "
        "with a letter or digit at both ends and no two dots together; a folder goes into prefix",
    ),
    cel(
        "!self.matches('^[0-9]+([.][0-9]+){3}$')",
        "must not look like an IP address: S3 refuses such a bucket; the endpoint goes into url",
    ),
)

REPOSITORY: Final = cel(
    r"self.matches('^(rest:https?://|azure:|gs:|b2:|swift:)[!-~]+$') && !self.matches('@')",
    "must be restic's name of a repository on rest:, azure:, gs:, b2: or swift:, such as "
    "rest:https://backup.example.com:8000/cluster, without user and password: these belong in the Secret; "
    "an S3 bucket goes into url and bucketName",
)

PROXY: Final = cel(
    f"self.matches('^https?://{_AUTHORITY}/?$')",
    "must be http:// or https://, a host and a port, such as http://proxy.example.com:3128: no user, path, "
    "query or fragment",
)

PREFIX: Final = cel(
    f"self.matches('^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$') &&\n{_NO_DOT_SEGMENT}",
    "must be a folder such as production/east: letters, digits and '_.=-' between single slashes, "
    "no slash at the beginning or the end, and no part that is '.' or '..'",
)

REGION: Final = cel(
    "self.matches('^[A-Za-z0-9_.-]+$')",
    "must be a region's name, such as eu-central-1: letters, digits and '_.-'",
)

ONE_WAY_TO_TRUST: Final = cel(
    "!has(self.caSecret) || !has(self.insecureSkipTLSVerify) || !self.insecureSkipTLSVerify",
    "contradicts caSecret, which names the certificates to check with: remove one of the two",
    fieldPath=".insecureSkipTLSVerify",
    reason="FieldValueForbidden",
)

POLICY_NAME: Final = cel(
    f"size(self.metadata.name) <= {MAX_POLICY_NAME_LENGTH}",
    f"may have at most {MAX_POLICY_NAME_LENGTH} characters, because the policy's CronJob has this name with "
    f"'{CRONJOB_SUFFIX}' appended and that may have {MAX_CRONJOB_NAME}: choose a shorter name",
    fieldPath=".metadata.name",
)

SCHEDULE: Final = cel(
    r"self.matches('^\\s*[^@\\s]\\S*(\\s+\\S+){4}\\s*$') ||"
    "\n"
    r"self.matches('^@(yearly|annually|monthly|weekly|daily|midnight|hourly|every \\S+)$')",
    "must be five fields (minute, hour, day of month, month, day of week), such as '*/10 * * * *' for every "
    "ten minutes, or one of @hourly, @daily, @weekly, @monthly, @yearly; a time zone goes into timeZone",
)

TIME_ZONE: Final = cel(
    "self.matches('^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$') &&\n!self.matches('^[Ll][Oo][Cc][Aa][Ll]$')",
    "must be the name of an IANA time zone, such as Europe/Berlin or UTC; "
    "leave it out for the time zone of the cluster's controller manager",
)

DIRECTORY: Final = cel(
    r"self.matches('^(/[^/\\x00-\\x1f\\x7f]+)+$') &&"
    f"\n{_NO_DOT_SEGMENT}",
    "must be an absolute path of a directory below '/', such as /etc/kubernetes/pki: "
    "without '.' and '..', without double slashes or one at the end",
)

FILE: Final = cel(
    r"self.matches('^(/[^/\\x00-\\x1f\\x7f]+)+$') &&"
    f"\n{_NO_DOT_SEGMENT}",
    "must be an absolute path of a file, such as /etc/kubernetes/admin.conf: "
    "without '.' and '..', without double slashes or one at the end",
)

ETCD_ENDPOINTS: Final = cel(
    f"self.matches('^{_ETCD_URL}(,{_ETCD_URL})*$')",
    "must be https://, a host and a port, such as https://127.0.0.1:2379; several are separated by commas "
    "without spaces. kube-apiserver's option --etcd-servers names them",
)


def required_without(field: str, other: str) -> dict[str, Any]:
    """Return a model's rule that a field must be there, unless another is."""
    return cel(
        f"has(self.{field}) || has(self.{other})",
        f"is needed where there is no {other}",
        fieldPath=f".{field}",
        reason="FieldValueRequired",
    )


def forbidden_beside(field: str, other: str) -> dict[str, Any]:
    """Return a model's rule that a field must not be there together with another."""
    return cel(
        f"!has(self.{field}) || !has(self.{other})",
        f"has no meaning beside {other}, which names the whole place: remove one of the two",
        fieldPath=f".{field}",
        reason="FieldValueForbidden",
    )


def only_keys(keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the rule that a map has no other keys."""
    return cel(f"self.all(key, key in {list(keys)!r})", f"knows only these keys: {', '.join(keys)}")


def label_key_in(key: str) -> dict[str, Any]:
    """Return the rule that a map's value for `key`, if it has one, is the key of a label."""
    pattern = "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
    return cel(
        f"!('{key}' in self) || self['{key}'].matches('{pattern}')",
        f"{key} must be the key of a node's label, such as ismasternode, without a value",
    )
