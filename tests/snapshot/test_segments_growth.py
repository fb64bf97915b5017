"""How much a repository grows by a backup, with the load that `make bench-backup` measures at large."""

import json
import os
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.etcd_load import Loader
from benchmarks.kubernetes_load import KubernetesLoad, Size
from kubedr_server.snapshot.segments import write_segments
from support.etcd import EtcdServer
from support.repository import planted
from support.tools import program

_PASSWORD = "a password"
_SIZE = Size(nodes=2, namespaces=4, apps=70)


def test_the_same_seed_makes_the_same_load() -> None:
    one, same, other = (KubernetesLoad(seed, Size.small()) for seed in (1, 1, 2))
    assert list(islice(one.initial(), 500)) == list(islice(same.initial(), 500))
    assert list(islice(other.initial(), 500)) != list(islice(KubernetesLoad(1, Size.small()).initial(), 500))


@pytest.mark.storage
@pytest.mark.slow
async def test_segments_store_less_than_a_quarter_of_what_the_file_does(tmp_path: Path) -> None:
    load = KubernetesLoad(1, _SIZE)
    plain, segments = _Repository(tmp_path / "plain"), _Repository(tmp_path / "segments")
    growth = []
    with EtcdServer(tmp_path / "etcd", extra_arguments=["--unsafe-no-fsync"]) as etcd:
        async with Loader(etcd) as loader:
            await loader.fill(load.initial())
            for _ in range(2):
                await loader.fill(load.ten_minutes())
                snapshot = plain.emptied() / "snapshot.db"
                etcd.etcdctl("snapshot", "save", str(snapshot))
                write_segments(snapshot, segments.emptied())
                growth.append((plain.store(), segments.store()))
    (_, first), (of_file, of_segments) = growth
    assert 0 < of_segments < first
    assert 4 * of_segments < of_file


class _Repository:
    """A repository on the local disk, and the directory that is stored in it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        for name, content in planted(_PASSWORD).items():
            path = directory / "repository" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._count = 0

    def emptied(self) -> Path:
        """Return a new directory to store."""
        self._count += 1
        (self._directory / f"content-{self._count}").mkdir()
        return self._directory / f"content-{self._count}"

    def store(self) -> int:
        """Store the directory; return by how many bytes the repository has grown."""
        summary = self._restic("backup", "--json", "--quiet", f"content-{self._count}")
        return int(json.loads(summary.splitlines()[-1])["data_added_packed"])

    def _restic(self, *arguments: str) -> str:
        argv = [
            str(program("restic")),
            "--no-cache",
            "--repo",
            str(self._directory / "repository"),
            *arguments,
        ]
        environment = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": _PASSWORD}
        return subprocess.run(
            argv, env=environment, cwd=self._directory, check=True, capture_output=True, text=True
        ).stdout
