"""What a container gets for one thing it works with: environment variables, volumes, mounts.

A part is built once and added to a pod, so that a variable never names a directory that is not mounted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubedr_server.api.backup_location import CA_BUNDLE_KEY, BackupLocation, BackupLocationSpec
from kubedr_server.contract import Env, Mount

SECRET_MODE = 0o400


@dataclass(frozen=True)
class Part:
    """Lists that go into a pod as they are."""

    env: tuple[dict[str, Any], ...] = ()
    volumes: tuple[dict[str, Any], ...] = ()
    mounts: tuple[dict[str, Any], ...] = ()


def join(parts: Iterable[Part]) -> Part:
    """Return all parts as one, in their order."""
    parts = tuple(parts)
    return Part(
        env=tuple(variable for part in parts for variable in part.env),
        volumes=tuple(volume for part in parts for volume in part.volumes),
        mounts=tuple(mount for part in parts for mount in part.mounts),
    )


def setting(name: Env, value: str) -> Part:
    """Return a plain environment variable."""
    return Part(env=(variable(name, value),))


def variable(name: Env, value: str) -> dict[str, Any]:
    """Return an entry of a container's `env`."""
    return {"name": name.value, "value": value}


def secret(volume: str, secret_name: str, mount: Mount) -> Part:
    """Return a Secret as files that only the container's user can read.

    `optional`: without it a missing Secret keeps the pod in ContainerCreating, silently, until its
    deadline. With it the runner starts at once and says which file is missing.
    """
    return Part(
        volumes=(
            {
                "name": volume,
                "secret": {"secretName": secret_name, "defaultMode": SECRET_MODE, "optional": True},
            },
        ),
        mounts=({"name": volume, "mountPath": mount.value, "readOnly": True},),
    )


def scratch() -> Part:
    """Return the only writable directory: the root file system is read-only."""
    return Part(
        env=(variable(Env.SCRATCH_DIR, Mount.SCRATCH),),
        volumes=({"name": "scratch", "emptyDir": {}},),
        mounts=({"name": "scratch", "mountPath": Mount.SCRATCH.value},),
    )


def repository(location: BackupLocation) -> Part:
    """Return what opens a location's restic repository."""
    spec = location.spec
    parts = [
        Part(
            env=(
                variable(Env.REPOSITORY, repository_url(spec)),
                variable(Env.REPOSITORY_CREDENTIALS_DIR, Mount.REPOSITORY_CREDENTIALS),
            )
        ),
        secret("repository-credentials", spec.credentials, Mount.REPOSITORY_CREDENTIALS),
    ]
    if spec.region is not None:
        parts.append(setting(Env.REPOSITORY_REGION, spec.region))
    if spec.proxy is not None:
        parts.append(setting(Env.REPOSITORY_PROXY, spec.proxy))
    if spec.ca_secret is not None:
        parts.append(setting(Env.REPOSITORY_CA_FILE, f"{Mount.REPOSITORY_CA}/{CA_BUNDLE_KEY}"))
        parts.append(secret("repository-ca", spec.ca_secret, Mount.REPOSITORY_CA))
    if spec.insecure_skip_tls_verify:
        parts.append(setting(Env.REPOSITORY_INSECURE, "true"))
    return join(parts)


def repository_url(spec: BackupLocationSpec) -> str:
    """Return the name that restic knows the repository by: `s3:<url>/<bucket>[/<prefix>]` for a bucket.

    Raises ValueError for a spec that names no place: the API server stores none.
    """
    if spec.repository is not None:
        return spec.repository
    if spec.url is None or spec.bucket_name is None:
        raise ValueError("the BackupLocation has neither url and bucketName nor repository")
    path = [spec.url.rstrip("/"), spec.bucket_name]
    if spec.prefix is not None:
        path.append(spec.prefix.strip("/"))
    return "s3:" + "/".join(path)
