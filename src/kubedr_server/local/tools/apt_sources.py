"""Where this machine gets its Debian packages from, as its own apt is set up."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DEBIAN_SUITES = {
    *("oldoldstable", "oldstable", "stable", "testing", "unstable"),
    *("bullseye", "bookworm", "trixie", "forky", "duke", "sid"),
}
_ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$"
)


@dataclass(frozen=True)
class Mirror:
    """A mirror of Debian's main archive: its address, and the keyring that it is checked with, if named."""

    uri: str
    signed_by: str | None = None

    def source_line(self, suite: str) -> str:
        """Return a line of apt's sources.list for one suite."""
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {suite} main\n"


def debian_mirror(etc_apt: Path = Path("/etc/apt")) -> Mirror | None:
    """Return the first mirror of Debian's main archive among apt's sources; None if there is none.

    The sources are read, not asked for with `apt-get indextargets`, which knows nothing before the
    machine's first `apt-get update`.
    """
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if file.suffix == ".sources":
            found = next(_deb822(text), None)
        elif file.suffix == ".list":
            found = next(_one_line(text), None)
        else:
            continue
        if found is not None:
            return found
    return None


def _one_line(text: str) -> Iterator[Mirror]:
    for line in text.splitlines():
        entry = _ONE_LINE.match(line.partition("#")[0].strip())
        if entry is None or entry["suite"] not in _DEBIAN_SUITES or "main" not in entry["components"].split():
            continue
        options = dict(pair.split("=", 1) for pair in (entry["options"] or "").split() if "=" in pair)
        yield Mirror(entry["uri"], options.get("signed-by"))


def _deb822(text: str) -> Iterator[Mirror]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza)
        uris = fields.get("uris", "").split()
        if (
            uris
            and "deb" in fields.get("types", "").split()
            and fields.get("enabled", "yes").lower() not in {"no", "false", "0"}
            and "main" in fields.get("components", "").split()
            and _DEBIAN_SUITES.intersection(fields.get("suites", "").split())
        ):
            # A key that is written out in the file is left to apt's default keyrings.
            signed_by = fields.get("signed-by", "")
            yield Mirror(uris[0], signed_by if signed_by.startswith("/") else None)


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')} {line.strip()}".strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields
