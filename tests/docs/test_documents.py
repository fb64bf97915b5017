"""What the documents say is true: examples are accepted, links lead somewhere, codes and names exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from kubedr_server.admission.facts import Context, Facts
from kubedr_server.admission.judge import RULES
from kubedr_server.api.group import API_VERSION
from kubedr_server.cli import main
from kubedr_server.contract import EXIT_CODES

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for number, match in enumerate(FENCE.finditer(document.read_text())):
            if match[1] == language:
                yield f"{document.relative_to(ROOT)}#{number}", match[2]


def resources() -> Iterator[tuple[str, dict[str, Any]]]:
    for where, text in blocks("yaml"):
        for obj in yaml.safe_load_all(text):
            if isinstance(obj, dict) and obj.get("apiVersion") == API_VERSION:
                yield where, obj


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_there_are_examples_of_three_kinds() -> None:
    assert {obj["kind"] for _, obj in resources()} >= {
        "BackupLocation",
        "MetadataBackupPolicy",
        "MetadataRestore",
    }


@pytest.mark.parametrize(
    ("where", "obj"), list(resources()), ids=lambda each: each if isinstance(each, str) else ""
)
def test_an_example_is_accepted(where: str, obj: dict[str, Any]) -> None:
    rules = RULES[obj["kind"]]
    errors, _ = rules.validate(rules.default(obj), None, Context(obj["metadata"]["name"], Facts()))
    assert errors == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: str(each.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text()):
        found = (document.parent / target).resolve() if target else document
        assert found.exists(), f"{target} does not exist"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target}{anchor}: no such heading"


def test_every_kubedr_command_in_the_documents_exists() -> None:
    context = click.Context(main)
    for where, text in blocks("bash"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words or Path(words[0]).name != "kubedr":
                continue
            command: click.Command | None = main
            for word in words[1:]:
                if not isinstance(command, click.Group) or word.startswith("-"):
                    break
                command = command.get_command(context, word)
                assert command is not None, f"{where}: {line}"


def test_the_user_guide_names_every_exit_code_and_its_reason() -> None:
    guide = (ROOT / "docs" / "user-guide.md").read_text()
    rows = re.findall(r"^\| (\d[\d, to]*) \| ([\w, ]+) \|", guide, re.MULTILINE)
    told: dict[str, int] = {}
    for codes, reasons in rows:
        first, _, last = codes.partition(" to ")
        numbers = list(range(int(first), int(last) + 1)) if last else [int(each) for each in codes.split(",")]
        told.update(zip(reasons.split(", "), numbers, strict=True))
    assert told == {reason.value: code for reason, code in EXIT_CODES.items() if code != 1}


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for line in re.findall(r"(?:^|`|&& )make ([a-z -]+)", document.read_text(), re.MULTILINE):
            assert set(line.split()) <= targets, f"{document.name}: make {line}"
