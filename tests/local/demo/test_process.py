"""Background programs come up or are told why not, and nothing of them outlives their end."""

import os
import sys
import time
from pathlib import Path

import pytest

from kubedr_server.local.demo import kept
from kubedr_server.local.demo.process import Daemon, StartFailedError

_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(60)
"""
_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _alive(pid)


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    told = tmp_path / "child"
    daemon = Daemon("parent", [sys.executable, "-c", _PARENT, told], tmp_path / "log")
    daemon.start(lambda: told.exists() and bool(told.read_text()))
    child = int(told.read_text())
    assert _alive(child)
    daemon.stop()
    assert not daemon.running
    assert _gone(child)
    daemon.stop()  # a second time does nothing


def test_a_program_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    daemon = Daemon("etcd", ["/bin/sh", "-c", "echo 'address already in use' >&2; exit 1"], tmp_path / "log")
    with pytest.raises(StartFailedError, match="etcd ended at once:\naddress already in use"):
        daemon.start(lambda: False)


def test_a_program_that_never_answers_is_ended(tmp_path: Path) -> None:
    daemon = Daemon("weed", ["/bin/sleep", "60"], tmp_path / "log")
    with pytest.raises(StartFailedError, match=r"did not answer in 0.2 s"):
        daemon.start(lambda: False, seconds=0.2)
    assert not daemon.running


def test_a_program_that_does_not_heed_is_killed(tmp_path: Path) -> None:
    daemon = Daemon("stubborn", [sys.executable, "-u", "-c", _STUBBORN], tmp_path / "log")
    daemon.start(lambda: "up" in daemon.last_lines())
    daemon.stop(grace=0.2)
    assert _gone(daemon.pid)


def test_kept_processes_are_found_and_ended_later(tmp_path: Path) -> None:
    state = tmp_path / "processes.json"
    assert kept.end(state) == 0
    daemon = Daemon("kept", ["/bin/sleep", "60"], tmp_path / "log")
    daemon.start(lambda: True)
    try:
        kept.remember(state, [daemon.pid])
        assert kept.running(state) == [daemon.pid]
        assert kept.end(state) == 1
        assert kept.running(state) == []
        assert not daemon.running
    finally:
        daemon.stop(grace=0)


def test_another_process_with_a_kept_id_is_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "processes.json"
    state.write_text(f'{{"{os.getpid()}": "1"}}')  # started in the first tick after boot: not this one
    assert kept.end(state) == 0
