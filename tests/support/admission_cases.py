"""Wrong and right objects with the exact causes of their refusal: used as pure rules and through kubectl.

A case is `(kind, changed spec, causes)`; a cause is `(field, reason, message)`. No causes: accepted.
"""

from typing import Any

INVALID = "FieldValueInvalid"
TYPE = "FieldValueTypeInvalid"
REQUIRED = "FieldValueRequired"
UNSUPPORTED = "FieldValueNotSupported"
FORBIDDEN = "FieldValueForbidden"
DUPLICATE = "FieldValueDuplicate"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"

Cause = tuple[str, str, str]
Case = tuple[str, dict[str, Any], list[Cause]]

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_NAME = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
FIVE = "minute, hour, day of the month, month, day of the week"
URL = "as in https://s3.example.com:9000"
ETCD = "as in https://127.0.0.1:2379"
NO_ESCAPES = "must not contain spaces, control characters or any that a URL has to escape"
NO_HOST = "must name a host: a DNS name, an IPv4 address, or an IPv6 address in brackets"
NO_IPV6 = "must name a host: an IPv6 address stands in brackets, as in [2001:db8::1]"
NO_USER = "must not contain a user name or password: credentials belong in a Secret"
BUCKET = (
    "a bucket's name must consist of lower case letters, digits, '-' and '.', and must start and end with a "
    "letter or digit"
)
FOLDER = "must consist of letters, digits, '-', '_', '.' and '=', in parts separated by '/'"
REGION = "must consist of letters, digits, '-', '_' and '.', and must start and end with a letter or digit"
NO_KEY = (
    'Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and '
    'all keys"'
)
CONTRADICTION = (
    "Forbidden: contradicts caSecret, which names the certificates to check with: remove one of the two"
)
BESIDE = "Forbidden: has no meaning beside repository, which names the whole place: remove one of the two"
SCHEMES = "rest:, azure:, gs:, b2:, swift:; an S3 bucket goes into url and bucketName"
REST = "must name a REST server by its URL, as in rest:https://backup.example.com:8000/cluster"
NEVER = "is never due: no such day exists in the months it names"


def _invalid(field: str, value: str, detail: str) -> list[Cause]:
    return [(f"spec.{field}", INVALID, f'Invalid value: "{value}": {detail}')]


def _one(kind: str, field: str, value: Any, detail: str, shown: str | None = None) -> Case:
    return kind, {field: value}, _invalid(field, value if shown is None else shown, detail)


def _type(kind: str, field: str, value: Any, shown: str, wanted: str) -> Case:
    return kind, {field: value}, [(f"spec.{field}", TYPE, f"Invalid value: {shown}: must be {wanted}")]


def _right(kind: str, **spec: Any) -> Case:
    return kind, spec, []


def _one_elsewhere(repository: str, detail: str) -> Case:
    spec = {"url": ..., "bucketName": ..., "repository": repository}
    return "BackupLocation", spec, _invalid("repository", repository, detail)


L, P, R, M = "BackupLocation", "MetadataBackupPolicy", "MetadataBackupRecord", "MetadataRestore"

LOCATIONS: list[Case] = [
    _right(L),
    _right(L, url="http://10.96.57.3:9000", bucketName="testbucket", credentials="minio-creds"),
    _right(L, url="https://[2001:db8::1]:9000/"),
    _right(L, url="https://S3.Example.com"),
    _right(L, prefix="cluster=prod/etcd"),
    _right(L, url="http://minio_service.storage:9000"),
    _right(L, prefix="clusters/prod-1/etcd", region="eu-central-1", caSecret="storage-ca"),
    _right(L, insecureSkipTLSVerify=True),
    _right(L, bucketName="a.b-c.9"),
    _right(L, bucketName="b" * 63),
    (L, {"url": ..., "bucketName": ..., "repository": "rest:https://r.example.com:8000/a"}, []),
    (L, {"url": ..., "bucketName": ..., "repository": "azure:container:/folder"}, []),
    (
        L,
        {"repository": "rest:https://r.example.com/a"},
        [("spec.url", FORBIDDEN, BESIDE), ("spec.bucketName", FORBIDDEN, BESIDE)],
    ),
    _one_elsewhere("s3:https://s3.example.com/b", f"must begin with one of {SCHEMES}"),
    _one_elsewhere("/srv/restic", f"must begin with one of {SCHEMES}"),
    _one_elsewhere("sftp:user@host:/srv", f"must begin with one of {SCHEMES}"),
    _one_elsewhere("rest:backup.example.com", REST),
    _one_elsewhere(
        "rest:https://user:geheim@r.example.com/",
        "must not contain a user name or password: credentials belong in the Secret",
    ),
    _right(L, proxy="http://proxy.example.com:3128"),
    _one(
        L,
        "proxy",
        "proxy.example.com:3128",
        "must begin with http:// or https://, as in http://proxy.example.com:3128",
    ),
    _one(L, "proxy", "http://me:geheim@proxy.example.com", NO_USER, "http://…@proxy.example.com"),
    _right(
        L, healthSchedule="*/5 * * * *", checkSchedule="0 3 * * sat", checkParts=1, pruneSchedule="@monthly"
    ),
    _right(L, suspendMaintenance=True),
    (
        L,
        {"checkSchedule": "0 0 31 2 *"},
        [("spec.checkSchedule", INVALID, f'Invalid value: "0 0 31 2 *": {NEVER}')],
    ),
    _type(L, "checkParts", "7", '"7"', "an integer"),
    (
        L,
        {"checkParts": 0},
        [("spec.checkParts", INVALID, "Invalid value: 0: must be greater than or equal to 1")],
    ),
    (L, {"pruneSchedule": ""}, [("spec.pruneSchedule", INVALID, 'Invalid value: "": must not be empty')]),
    _right(
        P,
        staticPodsDir="/etc/kubernetes/manifests",
        kubeconfigs=["/etc/kubernetes/admin.conf", "/root/.kube/config"],
    ),
    _right(P, encryptionConfig="/etc/kubernetes/encryption.yaml", drillSchedule="@weekly", spreadMinutes=30),
    _right(P, retainHourly=24, retainDaily=7, retainWeekly=4, retainMonthly=12, snapshotFormat="file"),
    (
        P,
        {"snapshotFormat": "raw"},
        [
            (
                "spec.snapshotFormat",
                UNSUPPORTED,
                'Unsupported value: "raw": supported values: "segments", "file"',
            )
        ],
    ),
    (
        P,
        {"spreadMinutes": 60},
        [("spec.spreadMinutes", INVALID, "Invalid value: 60: must be less than or equal to 59")],
    ),
    (
        P,
        {"retainDaily": -1},
        [("spec.retainDaily", INVALID, "Invalid value: -1: must be greater than or equal to 0")],
    ),
    (
        P,
        {"kubeconfigs": ["/etc/kubernetes/admin.conf", "/root/admin.conf", "etc"]},
        [
            (
                "spec.kubeconfigs[1]",
                INVALID,
                (
                    'Invalid value: "/root/admin.conf": is the second file named admin.conf: in the backup '
                    "they lie in one folder"
                ),
            ),
            ("spec.kubeconfigs[2]", INVALID, 'Invalid value: "etc": must be an absolute path'),
        ],
    ),
    _one(P, "encryptionConfig", "/proc/1/environ", "lies in /proc, which must not be backed up as files"),
    _one(P, "staticPodsDir", "/etc/../x", "must not contain '.' or '..' as a part"),
    _one(P, "drillSchedule", "0 0 31 2 *", NEVER),
    (L, {"url": ...}, [("spec.url", REQUIRED, "Required value")]),
    (L, {"url": ""}, [("spec.url", REQUIRED, "Required value")]),
    (L, {"url": None}, [("spec.url", REQUIRED, "Required value")]),
    (L, {"bucketName": ...}, [("spec.bucketName", REQUIRED, "Required value")]),
    (L, {"credentials": ""}, [("spec.credentials", REQUIRED, "Required value")]),
    (
        L,
        {"url": ..., "bucketName": ..., "credentials": ...},
        [
            ("spec.url", REQUIRED, "Required value"),
            ("spec.bucketName", REQUIRED, "Required value"),
            ("spec.credentials", REQUIRED, "Required value"),
        ],
    ),
    _type(L, "url", 7, "7", "a string"),
    _type(L, "url", ["https://s3"], '"array"', "a string"),
    _type(L, "insecureSkipTLSVerify", "yes", '"yes"', "true or false"),
    _right(L, prefix=None),
    _one(L, "url", "s3.example.com", f"must begin with http:// or https://, {URL}"),
    _one(L, "url", "s3:https://s3.example.com", f"must begin with http:// or https://, {URL}"),
    _one(L, "url", "ftp://s3.example.com", f"must begin with http:// or https://, {URL}"),
    _one(L, "url", "https:/s3.example.com", f"must begin with http:// or https://, {URL}"),
    _one(L, "url", "https://", "must name a host"),
    _one(L, "url", "https://:9000", "must name a host"),
    _one(L, "url", "https:///bucket", f"must not have a path: only scheme, host and port, {URL}"),
    _one(
        L, "url", "https://s3.example.com/bucket", f"must not have a path: only scheme, host and port, {URL}"
    ),
    _one(L, "url", "https://s3.example.com//", f"must not have a path: only scheme, host and port, {URL}"),
    _one(L, "url", "https://s3.example.com?region=eu", "must not have a query ('?…')"),
    _one(L, "url", "https://s3.example.com/?a", "must not have a query ('?…')"),
    _one(L, "url", "https://s3.example.com#x", "must not have a fragment ('#…')"),
    _one(L, "url", "https://key:geheim@s3.example.com", NO_USER, "https://…@s3.example.com"),
    _one(L, "url", "https://key@s3.example.com", NO_USER, "https://…@s3.example.com"),
    _one(L, "url", "https://s3.example.com:0", "must have a port from 1 to 65535"),
    _one(L, "url", "https://s3.example.com:65536", "must have a port from 1 to 65535"),
    _one(L, "url", "https://s3.example.com:", "must have a port from 1 to 65535"),
    _one(L, "url", "https://s3.example.com:https", "must have a port from 1 to 65535"),
    _one(L, "url", "https://2001:db8::1", NO_IPV6),
    _one(L, "url", "HTTPS://s3.example.com", f"must begin with http:// or https://, {URL}"),
    _one(L, "url", "https://[2001:db8::1", NO_IPV6),
    _one(L, "url", "https://[s3.example.com]", NO_IPV6),
    _one(L, "url", "https://-s3.example.com", NO_HOST),
    _one(L, "url", "https://s3..example.com", NO_HOST),
    _one(L, "url", "https://300.1.1.1", "must name a host: its IPv4 address is not valid"),
    _one(L, "url", "https://s3.example.com ", NO_ESCAPES),
    _one(L, "url", "https://s3.exämple.com", NO_ESCAPES),
    _one(L, "url", "https://s3.example.com\n--option", NO_ESCAPES, "https://s3.example.com\\n--option"),
    (
        L,
        {"url": "https://" + "a" * 2048},
        [("spec.url", TOO_LONG, "Too long: may not be more than 2048 characters")],
    ),
    _one(L, "bucketName", "ab", "must be at least 3 characters long"),
    (
        L,
        {"bucketName": "b" * 64},
        [("spec.bucketName", TOO_LONG, "Too long: may not be more than 63 characters")],
    ),
    _one(L, "bucketName", "Backups", BUCKET),
    _one(L, "bucketName", "my_backups", BUCKET),
    _one(L, "bucketName", "-backups", BUCKET),
    _one(L, "bucketName", "backups.", BUCKET),
    _one(L, "bucketName", "backups/prod", BUCKET),
    _one(L, "bucketName", "a..b", "a bucket's name must not have two dots in a row"),
    _one(L, "bucketName", "192.168.5.4", "a bucket's name must not look like an IP address"),
    _one(
        L,
        "bucketName",
        "xn--backups",
        "a bucket's name must not start with 'xn--', which S3 keeps for itself",
    ),
    _one(
        L,
        "bucketName",
        "a-s3alias",
        "a bucket's name must not end with '-s3alias', which S3 keeps for itself",
    ),
    _one(L, "credentials", "S3_Credentials", SUBDOMAIN),
    _one(L, "credentials", "../secrets", SUBDOMAIN),
    _one(L, "caSecret", "ca secret", SUBDOMAIN),
    _one(L, "prefix", "/clusters", "must not start or end with '/'"),
    _one(L, "prefix", "clusters/", "must not start or end with '/'"),
    _one(L, "prefix", "clusters//a", "must not have two '/' in a row"),
    _one(L, "prefix", "../other", "must not have '..' as a part"),
    _one(L, "prefix", "a/./b", "must not have '.' as a part"),
    _one(L, "prefix", "a b", FOLDER),
    _one(L, "prefix", "a?b", FOLDER),
    _one(L, "prefix", "a\nb", FOLDER, "a\\nb"),
    _one(L, "prefix", "", "must not be empty"),
    (
        L,
        {"caSecret": "storage-ca", "insecureSkipTLSVerify": True},
        [
            (
                "spec.insecureSkipTLSVerify",
                FORBIDDEN,
                CONTRADICTION,
            )
        ],
    ),
    _one(L, "region", "eu central", REGION),
    _one(L, "region", "-eu", REGION),
]

SCHEDULES: list[Case] = [
    *(
        _right(P, schedule=schedule)
        for schedule in (
            "0 3 * * *",
            "  0   3 * * *  ",
            "0\t3 * * *",
            "*/15 0-6,12-18/2 1,15 JAN-jun MON-FRI",
            "0 0 ? * ?",
            "0 0 29 2 *",
            "0 0 31 2 1",
            "5/10 * * * *",
            "0 0 * * 0",
            "1,,2 * * * *",
            "@hourly",
            "@daily",
            "@midnight",
            "@weekly",
            "@monthly",
            "@yearly",
            "@annually",
            "@every 1h30m",
            "@every 90m",
        )
    ),
    (P, {"schedule": ...}, [("spec.schedule", REQUIRED, "Required value")]),
    (P, {"schedule": ""}, [("spec.schedule", REQUIRED, "Required value")]),
    _type(P, "schedule", 5, "5", "a string"),
    _one(P, "schedule", "every day", f"expected exactly 5 fields, found 2: {FIVE}"),
    _one(P, "schedule", "* * * *", f"expected exactly 5 fields, found 4: {FIVE}"),
    _one(P, "schedule", "   ", f"expected exactly 5 fields, found 0: {FIVE}"),
    _one(
        P,
        "schedule",
        "0 0 3 * * *",
        f"expected exactly 5 fields, found 6 (there is no field for seconds or years): {FIVE}",
    ),
    _one(P, "schedule", "60 * * * *", "'60' is out of range: minute must be between 0 and 59"),
    _one(P, "schedule", "* 24 * * *", "'24' is out of range: hour must be between 0 and 23"),
    _one(P, "schedule", "* * 0 * *", "'0' is out of range: day of the month must be between 1 and 31"),
    _one(P, "schedule", "* * 32 * *", "'32' is out of range: day of the month must be between 1 and 31"),
    _one(P, "schedule", "* * * 13 *", "'13' is out of range: month must be between 1 and 12"),
    _one(
        P,
        "schedule",
        "* * * * 7",
        "'7' is out of range: day of the week must be between 0 and 6; Sunday is 0",
    ),
    _one(P, "schedule", "* * * * MOON", "'MOON' is not a day of the week: 'MOON' is not a number"),
    _one(P, "schedule", "a * * * *", "'a' is not a minute: 'a' is not a number"),
    _one(P, "schedule", "-1 * * * *", "'' is not a minute: '' is not a number"),
    _one(P, "schedule", "1-2-3 * * * *", "too many hyphens in '1-2-3'"),
    _one(P, "schedule", "*/2/3 * * * *", "too many slashes in '*/2/3'"),
    _one(P, "schedule", "*/0 * * * *", "the step of '*/0' must be at least 1"),
    _one(P, "schedule", "*/x * * * *", "'*/x' is not a step: 'x' is not a number"),
    _one(P, "schedule", "*/ * * * *", "'*/' is not a step: '' is not a number"),
    _one(P, "schedule", "30-10 * * * *", "the range '30-10' ends before it begins"),
    _one(P, "schedule", ", * * * *", "the field minute ',' names no value"),
    _one(P, "schedule", "H * * * *", "'H' is not a minute: 'H' is not a number"),
    _one(P, "schedule", "* * L * *", "'L' is not a day of the month: 'L' is not a number"),
    _one(P, "schedule", "0 0 * * 5#2", "'5#2' is not a day of the week: '5#2' is not a number"),
    _one(P, "schedule", "0 0 31 2 *", NEVER),
    _one(P, "schedule", "0 0 30 FEB ?", NEVER),
    _one(P, "schedule", "0 0 31 4,6,9,11 *", NEVER),
    _one(
        P,
        "schedule",
        "@reboot",
        "unrecognized descriptor: one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, "
        "@every <duration> is possible",
    ),
    _one(P, "schedule", "@every day", "'day' is not a duration: write it as in '@every 1h30m'"),
    _one(P, "schedule", "@every 10", "'10' is not a duration: write it as in '@every 1h30m'"),
    _one(P, "schedule", "@every -5m", "the duration '-5m' must be more than zero"),
    _one(P, "schedule", "@every 0", "the duration '0' must be more than zero"),
    _one(
        P,
        "schedule",
        "TZ=UTC 0 3 * * *",
        "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
    ),
    _one(
        P,
        "schedule",
        "CRON_TZ=Europe/Berlin 0 3 * * *",
        "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
    ),
    (
        P,
        {"schedule": "1 " * 200},
        [("spec.schedule", TOO_LONG, "Too long: may not be more than 256 characters")],
    ),
]

POLICIES: list[Case] = [
    _right(P),
    _right(P, destination="local-minio", certsDir="/var/lib/minikube/certs", retainNumBackups=1),
    _right(P, timeZone="Europe/Berlin"),
    _right(P, timeZone="Etc/UTC"),
    _right(P, options={"master-node-label-name": "ismasternode"}),
    _right(P, options={"master-node-label-name": "example.com/Control.Plane_1"}),
    _right(P, options={}),
    _right(P, etcdEndpoint="https://etcd-0.example.com:2379,https://10.0.0.2:2379"),
    _right(P, certsDir="/var/lib/kubelet/pki"),
    _right(P, retainNumBackups=5.0),
    _right(
        P, resources={"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": 1, "memory": "1e9"}}
    ),
    _right(P, resources={"requests": {"example.com/gpu": 1}, "limits": {"example.com/gpu": "1"}}),
    _right(P, resources={"requests": {"memory": "9" * 31}, "limits": {"memory": "1e999", "cpu": "1n"}}),
    _right(P, tolerations=[{"operator": "Exists"}]),
    _right(
        P,
        tolerations=[{"key": "a/b", "value": "c", "effect": "NoExecute", "tolerationSeconds": 3}],
    ),
    _one(
        P,
        "timeZone",
        "Local",
        "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
    ),
    _one(P, "timeZone", "europe/berlin", "unknown time zone europe/berlin; did you mean Europe/Berlin?"),
    _one(P, "timeZone", "Qqqqqq", "unknown time zone Qqqqqq"),
    _one(
        P,
        "timeZone",
        "../../etc/passwd!",
        "unknown time zone: it must be a name of the IANA database, such as Europe/Berlin",
    ),
    _one(P, "timeZone", "", "must not be empty"),
    (P, {"destination": ...}, [("spec.destination", REQUIRED, "Required value")]),
    _one(P, "destination", "Off Site", SUBDOMAIN),
    _one(P, "destination", "a" * 64 + "_", SUBDOMAIN),
    _one(P, "etcdCreds", "etcd/creds", SUBDOMAIN),
    _type(P, "suspend", "true", '"true"', "true or false"),
    _type(P, "suspend", 1, "1", "true or false"),
    _type(P, "retainNumBackups", "120", '"120"', "an integer"),
    _type(P, "retainNumBackups", 1.5, "1.5", "an integer"),
    _type(P, "retainNumBackups", True, "true", "an integer"),
    (
        P,
        {"retainNumBackups": 0},
        [("spec.retainNumBackups", INVALID, "Invalid value: 0: must be greater than or equal to 1")],
    ),
    (
        P,
        {"retainNumBackups": -3},
        [("spec.retainNumBackups", INVALID, "Invalid value: -3: must be greater than or equal to 1")],
    ),
    (
        P,
        {"retainNumBackups": 100_001},
        [("spec.retainNumBackups", INVALID, "Invalid value: 100001: must be less than or equal to 100000")],
    ),
    (
        P,
        {"retainNumBackups": 10**60},
        [
            (
                "spec.retainNumBackups",
                INVALID,
                "Invalid value: an integer of more than 40 digits: must be less than or equal to 100000",
            )
        ],
    ),
    (
        P,
        {"activeDeadlineSeconds": 1},
        [("spec.activeDeadlineSeconds", INVALID, "Invalid value: 1: must be greater than or equal to 60")],
    ),
    (
        P,
        {"startingDeadlineSeconds": 9},
        [("spec.startingDeadlineSeconds", INVALID, "Invalid value: 9: must be greater than or equal to 10")],
    ),
    (
        P,
        {"failedJobsHistoryLimit": 0},
        [("spec.failedJobsHistoryLimit", INVALID, "Invalid value: 0: must be greater than or equal to 1")],
    ),
    (
        P,
        {"successfulJobsHistoryLimit": 101},
        [
            (
                "spec.successfulJobsHistoryLimit",
                INVALID,
                "Invalid value: 101: must be less than or equal to 100",
            )
        ],
    ),
    _one(P, "certsDir", "etc/kubernetes/pki", "must be an absolute path"),
    _one(P, "certsDir", "//", "must not have two '/' in a row or end with '/'"),
    _one(P, "certsDir", "/etc/kubernetes/", "must not have two '/' in a row or end with '/'"),
    _one(P, "certsDir", "/etc//kubernetes", "must not have two '/' in a row or end with '/'"),
    _one(P, "certsDir", "/etc/../root", "must not contain '.' or '..' as a part"),
    _one(P, "certsDir", "/etc/./pki", "must not contain '.' or '..' as a part"),
    _one(P, "certsDir", "/", "must not be the root directory: name the directory of the certificates"),
    _one(P, "certsDir", "/etc/a\nb", "must not contain control characters", "/etc/a\\nb"),
    _one(P, "certsDir", "/proc", "is /proc, which must not be backed up as files"),
    _one(P, "certsDir", "/proc/1/root", "lies in /proc, which must not be backed up as files"),
    _one(
        P, "certsDir", "/var/lib/etcd/member", "lies in /var/lib/etcd, which must not be backed up as files"
    ),
    _one(P, "certsDir", "/var", "contains /var/lib/containerd, which must not be backed up as files"),
    _one(
        P,
        "certsDir",
        "/var/lib/kubelet",
        "contains /var/lib/kubelet/plugins, which must not be backed up as files",
    ),
    _one(P, "etcdEndpoint", "http://127.0.0.1:2379", f"must begin with https://, {ETCD}"),
    _one(P, "etcdEndpoint", "127.0.0.1:2379", f"must begin with https://, {ETCD}"),
    _one(P, "etcdEndpoint", "https://127.0.0.1", f"must have a port, {ETCD}"),
    _one(
        P,
        "etcdEndpoint",
        "https://127.0.0.1:2379/v3",
        f"must not have a path: only scheme, host and port, {ETCD}",
    ),
    _one(P, "etcdEndpoint", "https://root:pw@127.0.0.1:2379", NO_USER, "https://…@127.0.0.1:2379"),
    (
        P,
        {"etcdEndpoint": "https://a:2379,https://a:2379"},
        [("spec.etcdEndpoint", DUPLICATE, 'Duplicate value: "https://a:2379"')],
    ),
    (
        P,
        {"etcdEndpoint": "https://a:2379, https://b:2379"},
        _invalid("etcdEndpoint", " https://b:2379", NO_ESCAPES),
    ),
    _one(P, "etcdEndpoint", "https://a:2379,", f"must begin with https://, {ETCD}", ""),
    (
        P,
        {"options": {"master-node-label": "x"}},
        [
            (
                "spec.options[master-node-label]",
                UNSUPPORTED,
                'Unsupported value: "master-node-label": supported values: "master-node-label-name"',
            )
        ],
    ),
    (
        P,
        {"options": {"master-node-label-name": "is master"}},
        [
            (
                "spec.options[master-node-label-name]",
                INVALID,
                f'Invalid value: "is master": {LABEL_NAME}',
            )
        ],
    ),
    (
        P,
        {"options": {"master-node-label-name": "/x"}},
        [
            (
                "spec.options[master-node-label-name]",
                INVALID,
                'Invalid value: "/x": prefix part must be non-empty',
            )
        ],
    ),
    (
        P,
        {"options": {"master-node-label-name": 1}},
        [("spec.options[master-node-label-name]", TYPE, "Invalid value: 1: must be a string")],
    ),
    _type(P, "options", ["a"], '"array"', "an object"),
    (
        P,
        {"options": {str(number): "x" for number in range(17)}},
        [
            ("spec.options", TOO_MANY, "Too many: 17: must have at most 16 items"),
            *(
                (
                    f"spec.options[{number}]",
                    UNSUPPORTED,
                    f'Unsupported value: "{number}": supported values: "master-node-label-name"',
                )
                for number in range(17)
            ),
        ],
    ),
    _type(P, "tolerations", {"operator": "Exists"}, '"object"', "a list"),
    (
        P,
        {"tolerations": ["all"]},
        [("spec.tolerations[0]", TYPE, 'Invalid value: "all": must be an object')],
    ),
    (
        P,
        {"tolerations": [{"key": "a", "operator": "In"}]},
        [
            (
                "spec.tolerations[0].operator",
                UNSUPPORTED,
                'Unsupported value: "In": supported values: "Equal", "Exists"',
            )
        ],
    ),
    (
        P,
        {"tolerations": [{"key": "a"}, {"key": "a", "operator": "Exists", "value": "b"}]},
        [
            (
                "spec.tolerations[1].value",
                INVALID,
                "Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
            )
        ],
    ),
    (
        P,
        {"tolerations": [{}]},
        [
            (
                "spec.tolerations[0].operator",
                INVALID,
                NO_KEY,
            )
        ],
    ),
    (
        P,
        {"tolerations": [{"key": "a", "effect": "NoRun"}]},
        [
            (
                "spec.tolerations[0].effect",
                UNSUPPORTED,
                'Unsupported value: "NoRun": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"',
            )
        ],
    ),
    (
        P,
        {"tolerations": [{"key": "a", "tolerationSeconds": 5}]},
        [
            (
                "spec.tolerations[0].effect",
                INVALID,
                "Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            )
        ],
    ),
    (
        P,
        {"tolerations": [{"key": "a", "colour": "red"}]},
        [
            (
                "spec.tolerations[0].colour",
                FORBIDDEN,
                "Forbidden: unknown field: a toleration has key, operator, value, effect, tolerationSeconds",
            )
        ],
    ),
    (
        P,
        {"tolerations": [{"key": 1}]},
        [("spec.tolerations[0].key", TYPE, "Invalid value: 1: must be a string")],
    ),
    (
        P,
        {"tolerations": [{"key": "-a"}]},
        [("spec.tolerations[0].key", INVALID, f'Invalid value: "-a": {LABEL_NAME}')],
    ),
    (
        P,
        {"tolerations": [{"operator": "Exists"}] * 33},
        [("spec.tolerations", TOO_MANY, "Too many: 33: must have at most 32 items")],
    ),
    (
        P,
        {"resources": {"limits": {"memory": "lots"}}},
        [("spec.resources.limits[memory]", INVALID, f'Invalid value: "lots": {QUANTITY}')],
    ),
    (
        P,
        {"resources": {"limits": {"cpu": "-1"}}},
        [("spec.resources.limits[cpu]", INVALID, 'Invalid value: "-1": must be greater than or equal to 0')],
    ),
    (
        P,
        {"resources": {"limits": {"cpu": True}}},
        [
            (
                "spec.resources.limits[cpu]",
                TYPE,
                "Invalid value: true: must be a quantity, such as 500m or 1Gi",
            )
        ],
    ),
    (
        P,
        {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}},
        [
            (
                "spec.resources.requests[cpu]",
                INVALID,
                'Invalid value: "2": must be less than or equal to cpu limit of 1500m',
            )
        ],
    ),
    (
        P,
        {"resources": {"limits": {"ram": "1Gi"}}},
        [
            (
                "spec.resources.limits[ram]",
                INVALID,
                'Invalid value: "ram": must be a standard resource for containers',
            )
        ],
    ),
    (
        P,
        {"resources": {"requests": {"example.com/gpu": 1}}},
        [
            (
                "spec.resources.requests[example.com/gpu]",
                INVALID,
                "Invalid value: 1: must be equal to example.com/gpu limit",
            )
        ],
    ),
    (
        P,
        {"resources": {"limits": {"example.com/gpu": "500m"}}},
        [("spec.resources.limits[example.com/gpu]", INVALID, 'Invalid value: "500m": must be an integer')],
    ),
    (
        P,
        {"resources": {"claims": [{"name": "a"}]}},
        [("spec.resources.claims", FORBIDDEN, "Forbidden: a backup pod has no resource claims")],
    ),
    (
        P,
        {"resources": {"request": {}}},
        [
            (
                "spec.resources.request",
                FORBIDDEN,
                "Forbidden: unknown field: resources have limits, requests",
            )
        ],
    ),
    (
        P,
        {"schedule": "x", "destination": "X", "retainNumBackups": 0, "certsDir": "a/b"},
        [
            ("spec.retainNumBackups", INVALID, "Invalid value: 0: must be greater than or equal to 1"),
            ("spec.destination", INVALID, f'Invalid value: "X": {SUBDOMAIN}'),
            ("spec.schedule", INVALID, f'Invalid value: "x": expected exactly 5 fields, found 1: {FIVE}'),
            ("spec.certsDir", INVALID, 'Invalid value: "a/b": must be an absolute path'),
        ],
    ),
]

RECORDS: list[Case] = [
    _right(R),
    _right(R, snapshotId="0123456789abcdef" * 4, backuploc="offsite"),
    (R, {"policy": ...}, [("spec.policy", REQUIRED, "Required value")]),
    (R, {"snapshotId": ""}, [("spec.snapshotId", REQUIRED, "Required value")]),
    _one(R, "snapshotId", "latest", "must match the regular expression '^[0-9a-f]{8,64}$'"),
    _one(R, "snapshotId", "9A9808CE", "must match the regular expression '^[0-9a-f]{8,64}$'"),
    _one(
        R, "snapshotId", "9a9808ce\n", "must match the regular expression '^[0-9a-f]{8,64}$'", "9a9808ce\\n"
    ),
    _one(R, "snapshotId", "--help", "must match the regular expression '^[0-9a-f]{8,64}$'"),
    (
        R,
        {"snapshotId": "a" * 65},
        [("spec.snapshotId", TOO_LONG, "Too long: may not be more than 64 characters")],
    ),
    _one(R, "policy", "Nightly", SUBDOMAIN),
    _one(R, "backuploc", "off_site", SUBDOMAIN),
    (
        R,
        {"backuploc": "a" * 254},
        [("spec.backuploc", TOO_LONG, "Too long: may not be more than 253 characters")],
    ),
]

RESTORES: list[Case] = [
    _right(M),
    (M, {"mbrName": ...}, [("spec.mbrName", REQUIRED, "Required value")]),
    (M, {"pvcName": None}, [("spec.pvcName", REQUIRED, "Required value")]),
    _one(M, "mbrName", "MBR-1", SUBDOMAIN),
    _one(M, "pvcName", "a/b", SUBDOMAIN),
    _type(M, "pvcName", {}, '"object"', "a string"),
]

CASES: list[Case] = [*LOCATIONS, *SCHEDULES, *POLICIES, *RECORDS, *RESTORES]
