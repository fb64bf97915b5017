"""The mirror is the one that the machine's apt uses, whichever way it is written down."""

from pathlib import Path

from kubedr_server.local.tools.apt_sources import Mirror, debian_mirror


def _apt(tmp_path: Path, *, old: str = "", new: str = "") -> Path:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(old)
    (tmp_path / "sources.list.d" / "debian.sources").write_text(new)
    return tmp_path


def test_a_stanza_of_the_new_format_is_read(tmp_path: Path) -> None:
    stanza = """\
Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
  contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
    found = debian_mirror(_apt(tmp_path, new=stanza))
    assert found == Mirror("http://mirror.example/debian", "/usr/share/keyrings/debian-archive-keyring.gpg")


def test_disabled_stanzas_and_other_archives_are_passed_over(tmp_path: Path) -> None:
    stanzas = """\
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://vendor.example/apt
Suites: nodistro
Components: main

Types: deb
URIs: mirror+file:/etc/apt/mirrors/debian.list
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
"""
    found = debian_mirror(_apt(tmp_path, new=stanzas, old="# moved\n"))
    assert found == Mirror("mirror+file:/etc/apt/mirrors/debian.list")


def test_a_line_of_the_old_format_is_read(tmp_path: Path) -> None:
    lines = """\
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb http://vendor.example/apt stable contrib
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://mirror.example/debian trixie main contrib # ours
"""
    assert debian_mirror(_apt(tmp_path, old=lines)) == Mirror(
        "http://mirror.example/debian", "/usr/share/keyrings/a.gpg"
    )


def test_a_system_that_is_no_debian_has_no_mirror(tmp_path: Path) -> None:
    ubuntu = "deb http://mirror.example/ubuntu noble main universe\n"
    assert debian_mirror(_apt(tmp_path, old=ubuntu)) is None
    assert debian_mirror(tmp_path / "nothing") is None


def test_a_source_line_names_the_keyring_only_if_there_is_one() -> None:
    assert Mirror("http://m").source_line("sid") == "deb http://m sid main\n"
    assert (
        Mirror("http://m", "/k.gpg").source_line("trixie") == "deb [signed-by=/k.gpg] http://m trixie main\n"
    )
