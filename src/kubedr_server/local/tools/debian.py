"""Programs from a newer Debian than this machine's, unpacked beside the system and not installed in it.

apt gets a state of its own (lists, cache, sources), so that no right is needed and nothing of the system's
changes. It checks the archive's signature and the packages' hashes as always.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kubedr_server.local.tools.apt_sources import Mirror, debian_mirror
from kubedr_server.local.tools.programs import ToolError

SUITES = ("trixie", "sid")
"""Tried in this order: the stable one, whose versions stay, and then the newest."""

PACKAGES = {
    "etcd": ("etcd-server", "usr/bin/etcd"),
    "etcdctl": ("etcd-client", "usr/bin/etcdctl"),
    "etcdutl": ("etcd-client", "usr/bin/etcdutl"),
    "restic": ("restic", "usr/bin/restic"),
    "promtool": ("promtool", "usr/bin/promtool"),
}
"""Program: its package, and where it is in it."""

_MINUTES = 10


class DebianArchive:
    """One suite of Debian, seen through an apt state in `directory`; nothing is fetched before need."""

    def __init__(self, suite: str, directory: Path, mirror: Mirror) -> None:
        self.suite = suite
        self._directory = directory
        self._mirror = mirror
        self._updated = False

    def programs(self, names: Sequence[str]) -> dict[str, Path]:
        """Download what holds these programs and unpack it; return where each is. ToolError if apt fails."""
        packages = sorted({PACKAGES[name][0] for name in names})
        self._update()
        downloads = self._directory / "debs"
        downloads.mkdir(exist_ok=True)
        self._run(["download", *packages], downloads)
        root = self._directory / "root"
        for deb in sorted(downloads.glob("*.deb")):
            _run_quietly(["dpkg-deb", "-x", str(deb), str(root)], self._directory)
        return {name: root / PACKAGES[name][1] for name in names}

    def _update(self) -> None:
        if self._updated:
            return
        for folder in ("lists/partial", "archives/partial"):
            (self._directory / folder).mkdir(parents=True, exist_ok=True)
        (self._directory / "sources.list").write_text(self._mirror.source_line(self.suite))
        self._run(["update"], self._directory)
        self._updated = True

    def _run(self, arguments: Sequence[str], folder: Path) -> None:
        settings = {
            "Dir::State": self._directory,
            "Dir::State::lists": self._directory / "lists",
            "Dir::State::status": "/var/lib/dpkg/status",
            "Dir::Cache": self._directory,
            "Dir::Cache::archives": self._directory / "archives",
            "Dir::Etc::sourcelist": self._directory / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::Etc::preferencesparts": "-",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            # By default a list that cannot be fetched is only a warning.
            "APT::Update::Error-Mode": "any",
            # What a system's administrator runs after an update is not for this state.
            "APT::Update::Post-Invoke": "",
            "APT::Update::Post-Invoke-Success": "",
        }
        if os.geteuid() == 0:
            # apt's own unprivileged user cannot see into every directory of root's.
            settings["APT::Sandbox::User"] = "root"
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        _run_quietly(["apt-get", "-qq", *options, *arguments], folder)


def archives(directory: Path) -> list[DebianArchive]:
    """Return the suites to try; ToolError if this machine is no Debian or lacks apt."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise ToolError("this system has no apt-get and dpkg-deb")
    mirror = debian_mirror()
    if mirror is None:
        raise ToolError("apt's sources in /etc/apt name no mirror of Debian's main archive")
    found = []
    for suite in SUITES:
        state = directory / suite
        state.mkdir(parents=True)
        found.append(DebianArchive(suite, state.absolute(), mirror))
    return found


def _run_quietly(argv: Sequence[str], folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=_MINUTES * 60,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{argv[0]} took more than {_MINUTES} minutes: is the mirror reachable?") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        raise ToolError(f"{argv[0]} {argv[-1]} failed (exit code {done.returncode}): {words[-600:]}")
