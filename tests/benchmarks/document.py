"""The document that benchmarks write their tables into: each its own section, between two marks."""

from pathlib import Path

_HEADER = (
    "# Benchmarks\n\nWhat is between two marks is written by the command that it names; do not edit it.\n"
)


def write_section(path: Path, name: str, text: str) -> None:
    """Write or replace a section; the others stay as they are. Raises ValueError if its end mark is lost."""
    document = path.read_text("utf-8") if path.exists() else _HEADER
    begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->\n"
    section = f"{begin}{text.strip()}\n{end}"
    before, found, rest = document.partition(begin)
    if not found:
        path.write_text(f"{document.rstrip()}\n\n{section}", "utf-8")
        return
    _, ended, after = rest.partition(end)
    if not ended:
        raise ValueError(f"{path}: the mark {end.strip()!r} is missing: write it where the section ends")
    path.write_text(f"{before}{section}{after}", "utf-8")
