"""What a backup cannot do without: the records that the last one did not have, compressed."""

import json
import os
import subprocess
from pathlib import Path

from kubedr_server.snapshot.bolt_file import BoltFile
from kubedr_server.snapshot.mvcc import KEY_BUCKET
from kubedr_server.snapshot.trailer import TRAILER_SIZE
from support.tools import program


class Changes:
    """Compares each snapshot with the last. Compression is restic's own, of one file with all the records."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._known: set[bytes] = set()
        self.records = 0
        """How many were new in the last snapshot."""
        self._restic("init")

    def compressed(self, snapshot: Path) -> int:
        """Return the compressed size of the records that are new in a snapshot. Blocks."""
        changed = self._directory / "changed"
        keys: set[bytes] = set()
        with (
            changed.open("wb") as file,
            BoltFile(snapshot, snapshot.stat().st_size - TRAILER_SIZE) as bolt,
        ):
            for bucket in bolt.buckets():
                if bucket.name == KEY_BUCKET:
                    for key, value in bolt.records(bucket):
                        keys.add(key)
                        if key not in self._known:
                            file.write(key + value)
        self.records = len(keys - self._known)
        self._known = keys
        summary = json.loads(self._restic("backup", "--json", "--quiet", changed.name).splitlines()[-1])
        return int(summary["data_added_packed"])

    def _restic(self, *arguments: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "RESTIC_REPOSITORY": str(self._directory / "repository"),
            "RESTIC_PASSWORD": "only to measure",
            "RESTIC_CACHE_DIR": str(self._directory / "cache"),
        }
        return subprocess.run(
            [program("restic"), *arguments],
            env=environment,
            cwd=self._directory,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
