"""The program that counts says the same as the function does."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kubedr_server.snapshot import count
from kubedr_server.snapshot.objects import EncryptionKey, Inventory


def test_what_is_printed_is_read_back_the_same() -> None:
    inventory = Inventory(
        Counter({"pods": 3, "example.com/widgets": 1}),
        Counter({EncryptionKey("aescbc", "key:1"): 2}),
        Counter({"secrets": 2}),
    )
    assert count.from_json(count.to_json(inventory)) == inventory


def test_a_file_that_is_no_snapshot_has_an_exit_code_and_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.db"
    path.write_bytes(b"no snapshot")
    ended = subprocess.run(
        [sys.executable, "-m", count.__name__, str(path), "/registry"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == count.UNREADABLE
    assert "snapshot.db" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"resources": {}, "encrypted": [1]}'])
def test_what_is_no_inventory_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        count.from_json(text)
