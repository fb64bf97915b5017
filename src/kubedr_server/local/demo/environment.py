"""The environment of the demo's programs: nothing of the caller's own set-up may reach them."""

import os
from pathlib import Path

_FOREIGN = ("AWS_", "ETCDCTL_", "ETCD_", "KUBE", "MINIO_", "RESTIC_", "S3_", "WEED_", "KUBEDR_")


def clean_environment(home: Path, tools: Path, *programs: Path) -> dict[str, str]:
    """Return the caller's environment without what would change what etcd, restic, kubectl or weed do.

    PATH begins with the directories of `programs` and of the tools; HOME is a directory of the demo's own, so
    that kubectl's and restic's caches go with it.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    folders = dict.fromkeys([*(str(program.parent) for program in programs), str(tools.absolute() / "bin")])
    environment["PATH"] = os.pathsep.join([*folders, environment.get("PATH", os.defpath)])
    environment["HOME"] = str(home)
    # Everything is on the loopback address: a proxy must not come between.
    environment["NO_PROXY"] = environment["no_proxy"] = "127.0.0.1,localhost"
    return environment
