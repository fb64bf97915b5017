"""A real kube-controller-manager beside a real kube-apiserver: CronJobs become Jobs, Jobs pods, orphans go.

There is no scheduler and no kubelet: what they would write into a pod's status, a test writes.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.apiserver import ApiServer, assets

_CONTROLLERS = (
    "cronjob-controller",
    "job-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "ttl-after-finished-controller",
)
_PROGRAM = "kube-controller-manager"


def has_controller_manager() -> bool:
    """Whether this machine has one beside its kube-apiserver."""
    folder = assets()
    return folder is not None and (folder / _PROGRAM).exists()


@contextmanager
def controller_manager(api: ApiServer, folder: Path) -> Iterator[None]:
    """Run it until the block ends. Kinds that it is to collect have to be there before."""
    programs = assets()
    assert programs is not None
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"--kubeconfig={api.kubeconfig}",
        f"--controllers={','.join(_CONTROLLERS)}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--concurrent-cron-job-syncs=20",
    ]
    with (folder / "controller-manager.log").open("wb") as log:
        process = subprocess.Popen(
            [str(programs / _PROGRAM), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        yield
    finally:
        process.kill()  # it keeps nothing
        process.wait()
