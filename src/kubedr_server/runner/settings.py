"""What a run is told to do: read once from the environment and the mounted Secrets.

All that is missing or malformed is found before anything is touched, and told by the name that the person
who has to mend it knows: the Secret's key, or the variable.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from kubedr_server.api.backup_location import ACCESS_KEY, REPOSITORY_PASSWORD, SECRET_KEY
from kubedr_server.api.conditions import Reason
from kubedr_server.api.metadata_backup_policy import (
    DEFAULT_SNAPSHOT_FORMAT,
    ETCD_CA,
    ETCD_CERTIFICATE,
    ETCD_KEY,
)
from kubedr_server.contract import Env
from kubedr_server.runner.backends import GOOGLE_CREDENTIALS, variables_of
from kubedr_server.runner.failure import RunFailureError

_STORAGE_SECRET = "the storage's Secret (spec.credentials of the BackupLocation)"

_SNAPSHOT_ID = re.compile(r"[0-9a-f]{8,64}")
# A comma separates tags in restic's arguments; the rest of ASCII's printable characters is harmless there.
_TAG_VALUE = re.compile(r"[!-+\--~]{0,512}")


@dataclass(frozen=True)
class RunSettings:
    """What every operation has. `search_path` is where programs are looked for."""

    run_id: str
    scratch: Path
    deadline_seconds: float
    cluster_id: str
    search_path: str


@dataclass(frozen=True)
class StorageKeys:
    """The S3 keys. They are never shown."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class RepositorySettings:
    """Which repository, and how it is reached. The password is only named by its file.

    `keys` are empty, and `variables` (restic's own, by name) may be set, where the storage is not S3.
    """

    url: str
    password_file: Path
    keys: StorageKeys
    ca_file: Path | None = None
    insecure: bool = False
    region: str | None = None
    proxy: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class EtcdSettings:
    """Where etcd is, and the files that it is asked with: none of them for plain http."""

    endpoints: tuple[str, ...]
    ca_file: Path
    certificate_file: Path
    key_file: Path

    @property
    def uses_tls(self) -> bool:
        """Whether any endpoint is https."""
        return any(endpoint.startswith("https://") for endpoint in self.endpoints)


@dataclass(frozen=True)
class InitSettings:
    """What initialising needs."""

    run: RunSettings
    repository: RepositorySettings


@dataclass(frozen=True)
class BackupSettings:
    """What a backup needs. `policy` is `<namespace>/<name>`; the paths are None where it names none."""

    run: RunSettings
    repository: RepositorySettings
    etcd: EtcdSettings
    policy: str
    certificates: Path | None
    static_pods: Path | None = None
    kubeconfigs: Path | None = None
    encryption_config: Path | None = None
    snapshot_format: str = DEFAULT_SNAPSHOT_FORMAT


@dataclass(frozen=True)
class RestoreSettings:
    """What a restore needs."""

    run: RunSettings
    repository: RepositorySettings
    snapshot_id: str
    target: Path


@dataclass(frozen=True)
class DrillSettings:
    """What a drill needs."""

    run: RunSettings
    repository: RepositorySettings
    snapshot_id: str


@dataclass(frozen=True)
class ForgetSettings:
    """What forgetting needs."""

    run: RunSettings
    repository: RepositorySettings
    snapshot_id: str


@dataclass(frozen=True)
class HealthSettings:
    """What a look at the repository needs. `unlock`: stale locks on storage other than S3 may go, too."""

    run: RunSettings
    repository: RepositorySettings
    unlock: bool


@dataclass(frozen=True)
class CheckSettings:
    """What a check needs: it reads `part`, from 1 to `parts`."""

    run: RunSettings
    repository: RepositorySettings
    part: int
    parts: int


@dataclass(frozen=True)
class PruneSettings:
    """What a prune needs."""

    run: RunSettings
    repository: RepositorySettings


def init_settings(environ: Mapping[str, str]) -> InitSettings:
    """Read the settings; RunFailureError (SettingMissing) names the first that is not there."""
    return InitSettings(_run(environ), _repository(environ))


def backup_settings(environ: Mapping[str, str]) -> BackupSettings:
    """Read the settings; RunFailureError (SettingMissing) names the first that is not there."""
    return BackupSettings(
        run=_run(environ),
        repository=_repository(environ),
        etcd=_etcd(environ),
        policy=_tag_value(environ, Env.POLICY),
        certificates=_optional_path(environ, Env.CERTIFICATES_DIR),
        static_pods=_optional_path(environ, Env.STATIC_PODS_DIR),
        kubeconfigs=_optional_path(environ, Env.KUBECONFIGS_DIR),
        encryption_config=_optional_path(environ, Env.ENCRYPTION_CONFIG_FILE),
        snapshot_format=environ.get(Env.SNAPSHOT_FORMAT) or DEFAULT_SNAPSHOT_FORMAT,
    )


def restore_settings(environ: Mapping[str, str]) -> RestoreSettings:
    """Read the settings; RunFailureError (SettingMissing) names the first that is not there."""
    return RestoreSettings(
        _run(environ), _repository(environ), _snapshot_id(environ), _path(_required(environ, Env.TARGET_DIR))
    )


def drill_settings(environ: Mapping[str, str]) -> DrillSettings:
    """Read the settings; RunFailureError (SettingMissing) names the first that is not there."""
    return DrillSettings(_run(environ), _repository(environ), _snapshot_id(environ))


def forget_settings(environ: Mapping[str, str]) -> ForgetSettings:
    """Read the settings; RunFailureError (SettingMissing) names the first that is not there."""
    return ForgetSettings(_run(environ), _repository(environ), _snapshot_id(environ))


def health_settings(environ: Mapping[str, str]) -> HealthSettings:
    """Read the settings; RunFailureError (SettingMissing) names the first that is not there."""
    return HealthSettings(_run(environ), _repository(environ), environ.get(Env.UNLOCK, "").lower() == "true")


def check_settings(environ: Mapping[str, str]) -> CheckSettings:
    """Read the settings; RunFailureError (SettingMissing) names the first that is not there."""
    run, repository = _run(environ), _repository(environ)
    part, parts = _count(environ, Env.CHECK_PART), _count(environ, Env.CHECK_PARTS)
    if part > parts:
        raise _missing(f"{Env.CHECK_PART} is {part}: there are only {parts} parts ({Env.CHECK_PARTS}).")
    return CheckSettings(run, repository, part, parts)


def prune_settings(environ: Mapping[str, str]) -> PruneSettings:
    """Read the settings; RunFailureError (SettingMissing) names the first that is not there."""
    return PruneSettings(_run(environ), _repository(environ))


def _run(environ: Mapping[str, str]) -> RunSettings:
    run_id = _tag_value(environ, Env.RUN_ID)
    scratch = _path(_required(environ, Env.SCRATCH_DIR))
    if not scratch.is_dir():
        raise _missing(
            f"{Env.SCRATCH_DIR} names '{scratch}', which is not a directory: mount a volume there."
        )
    deadline = _required(environ, Env.DEADLINE_SECONDS)
    try:
        seconds = float(deadline)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise _missing(f"{Env.DEADLINE_SECONDS} is '{deadline}': it has to be a number of seconds above 0.")
    cluster_id = _tag_value(environ, Env.CLUSTER_ID, required=False)
    return RunSettings(run_id, scratch, seconds, cluster_id, environ.get("PATH", ""))


def _repository(environ: Mapping[str, str]) -> RepositorySettings:
    url = _required(environ, Env.REPOSITORY)
    directory = _path(_required(environ, Env.REPOSITORY_CREDENTIALS_DIR))
    keys, variables = StorageKeys("", ""), _variables(url, directory)
    if url.startswith("s3:"):
        keys = StorageKeys(
            _secret_value(directory / ACCESS_KEY, _STORAGE_SECRET),
            _secret_value(directory / SECRET_KEY, _STORAGE_SECRET),
        )
    _secret_value(directory / REPOSITORY_PASSWORD, _STORAGE_SECRET)
    return RepositorySettings(
        url=url,
        password_file=directory / REPOSITORY_PASSWORD,
        keys=keys,
        ca_file=_ca_file(environ),
        insecure=environ.get(Env.REPOSITORY_INSECURE, "").lower() == "true",
        region=environ.get(Env.REPOSITORY_REGION) or None,
        proxy=environ.get(Env.REPOSITORY_PROXY) or None,
        variables=variables,
    )


def _variables(url: str, directory: Path) -> dict[str, str]:
    """Return the Secret's keys that restic knows as variables for this kind of storage."""
    named = [name for name in variables_of(url) if (directory / name).is_file()]
    return {
        name: str(directory / name)
        if name == GOOGLE_CREDENTIALS
        else _secret_value(directory / name, _STORAGE_SECRET)
        for name in named
    }


def _ca_file(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(Env.REPOSITORY_CA_FILE)
    if not named:
        return None
    _secret_value(_path(named), "the Secret with the storage's certificates (spec.caSecret)")
    return _path(named)


def _etcd(environ: Mapping[str, str]) -> EtcdSettings:
    named = _required(environ, Env.ETCD_ENDPOINTS)
    endpoints = tuple(part.strip().rstrip("/") for part in named.split(",") if part.strip())
    for endpoint in endpoints:
        _check_endpoint(endpoint)
    directory = _path(_required(environ, Env.ETCD_CREDENTIALS_DIR))
    settings = EtcdSettings(
        endpoints, directory / ETCD_CA, directory / ETCD_CERTIFICATE, directory / ETCD_KEY
    )
    if settings.uses_tls:
        for path in (settings.ca_file, settings.certificate_file, settings.key_file):
            _secret_value(path, "etcd's Secret (spec.etcdCreds of the policy)")
    return settings


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        complete = False
    if not complete:
        raise _missing(
            f"The etcd endpoint '{endpoint}' is not a URL such as https://127.0.0.1:2379: "
            "correct spec.etcdEndpoint of the policy."
        )


def _count(environ: Mapping[str, str], name: Env) -> int:
    value = _required(environ, name)
    if not re.fullmatch(r"[1-9][0-9]{0,3}", value):
        raise _missing(f"{name} is '{value}': it has to be a number from 1 to 9999.")
    return int(value)


def _snapshot_id(environ: Mapping[str, str]) -> str:
    value = _required(environ, Env.SNAPSHOT_ID)
    if not _SNAPSHOT_ID.fullmatch(value):
        raise _missing(f"{Env.SNAPSHOT_ID} is '{value}': it has to be 8 to 64 hexadecimal digits.")
    return value


def _tag_value(environ: Mapping[str, str], name: Env, *, required: bool = True) -> str:
    value = _required(environ, name) if required else environ.get(name, "")
    if not _TAG_VALUE.fullmatch(value):
        raise _missing(
            f"{name} holds a blank, a comma or a control character: it cannot be a snapshot's tag."
        )
    return value


def _path(value: str) -> Path:
    """Return a setting's path from the root: restic runs in another directory than the runner."""
    return Path(value).absolute()


def _optional_path(environ: Mapping[str, str], name: Env) -> Path | None:
    value = environ.get(name)
    return _path(value) if value else None


def _required(environ: Mapping[str, str], name: Env) -> str:
    value = environ.get(name, "")
    if not value:
        raise _missing(f"The variable {name} is not set in the pod's environment.")
    return value


def _secret_value(path: Path, secret: str) -> str:
    """Return a Secret's value without the newline that an editor, or `echo`, left at its end."""
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(
            f"There is no key '{path.name}' in {secret}, or no such Secret: "
            f"create it in the same namespace. (No file {path}.)"
        ) from None
    except OSError as error:
        raise _missing(
            f"The key '{path.name}' of {secret} cannot be read: {error.strerror} ({path})."
        ) from None
    except UnicodeDecodeError:
        raise _missing(f"The key '{path.name}' of {secret} is not text: is it encoded twice?") from None
    if not value:
        raise _missing(f"The key '{path.name}' of {secret} is empty.")
    if "\n" in value and secret == _STORAGE_SECRET:
        raise _missing(f"The key '{path.name}' of {secret} has more than one line.")
    return value


def _missing(message: str) -> RunFailureError:
    return RunFailureError(Reason.SETTING_MISSING, message)
