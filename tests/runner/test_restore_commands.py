"""The command that makes each member's data directory, from what a backup says of the members."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.runner.restore_commands import UNKNOWN, Member, members_of, restore_commands

SNAPSHOT = Path("/restore/etcd-snapshot.db")


def words_of(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", " "))


def test_each_member_has_its_own_name_and_url_and_all_the_same_cluster_and_token() -> None:
    members = [Member("cp-2", ("https://10.0.0.2:2380",)), Member("cp-1", ("https://10.0.0.1:2380",))]
    (first, command), (second, other) = restore_commands(SNAPSHOT, "restored-9a9808ce", members)
    assert (first, second) == ("cp-1", "cp-2")
    assert words_of(command) == [
        *("etcdutl", "snapshot", "restore", "/restore/etcd-snapshot.db"),
        *("--data-dir", "/var/lib/etcd-restored", "--name", "cp-1"),
        *("--initial-advertise-peer-urls", "https://10.0.0.1:2380"),
        *("--initial-cluster", "cp-1=https://10.0.0.1:2380,cp-2=https://10.0.0.2:2380"),
        *("--initial-cluster-token", "restored-9a9808ce"),
        *("--bump-revision", "1000000000", "--mark-compacted"),
    ]
    differing = [pair for pair in zip(words_of(command), words_of(other), strict=True) if len({*pair}) > 1]
    assert differing == [("cp-1", "cp-2"), ("https://10.0.0.1:2380", "https://10.0.0.2:2380")]


def test_a_member_with_several_urls_has_all_of_them() -> None:
    ((_, command),) = restore_commands(SNAPSHOT, "t", [Member("a", ("http://x:1", "http://y:2"))])
    words = words_of(command)
    assert words[words.index("--initial-advertise-peer-urls") + 1] == "http://x:1,http://y:2"
    assert words[words.index("--initial-cluster") + 1] == "a=http://x:1,a=http://y:2"


def test_a_name_from_the_repository_runs_nothing() -> None:
    ((name, command),) = restore_commands(SNAPSHOT, "t", [Member("x\n; reboot #", ("http://x:1",))])
    assert "\n" not in name
    assert "x ; reboot #" in words_of(command)


@pytest.mark.parametrize("listed", [None, 7, [], [{}], [{"name": "", "peerURLs": ["http://x:1"]}]])
def test_where_the_backup_does_not_say_it_there_is_a_word_to_replace(listed: Any) -> None:
    assert members_of(listed) == [UNKNOWN]


def test_a_member_that_never_started_is_left_out() -> None:
    listed = [{"name": "a", "peerURLs": ["http://x:1"]}, {"name": "", "peerURLs": ["http://y:2"]}]
    assert members_of(listed) == [Member("a", ("http://x:1",))]
