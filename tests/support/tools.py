"""Where the tests find the programs they run: etcd, restic, kubectl, the S3 server."""

import os
import shutil
from pathlib import Path

import pytest

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]


def program(name: str) -> Path:
    """Return a program's path; the test fails if there is none: a test that is skipped proves nothing.

    Looked for in $KUBEDR_TOOLS_DIR, then in the checkout's .tools/bin (where `make tools` puts them), then
    on PATH.
    """
    folders = [
        os.environ.get("KUBEDR_TOOLS_DIR"),
        str(REPOSITORY_ROOT / ".tools" / "bin"),
        os.environ.get("PATH"),
    ]
    found = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))
    if found is None:
        pytest.fail(f"the program '{name}' is missing: run 'make tools', or put it on PATH", pytrace=False)
    return Path(found).absolute()
