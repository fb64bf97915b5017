"""What the demo shows: commands as one would type them, their real output, and a tick with the time taken."""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

_SECONDS = 120


class DemoError(Exception):
    """Something that the demo is to show did not happen; the message says what, and where to look."""


@dataclass
class Step:
    """One step as it stands in the table at the end."""

    title: str
    proof: str = ""
    """What it has proven, in a few words; set while it runs."""
    seconds: float = 0.0


@dataclass
class Console:
    """Prints steps and runs commands in `directory`."""

    directory: Path
    environment: Mapping[str, str]
    output: TextIO = field(default_factory=lambda: sys.stdout)
    steps: list[Step] = field(default_factory=list)

    @property
    def _colours(self) -> bool:
        return self.output.isatty() and "NO_COLOR" not in os.environ

    def say(self, text: str = "") -> None:
        """Print a line."""
        self.output.write(f"{text}\n")
        self.output.flush()

    def style(self, text: str, code: str) -> str:
        """Return the text in bold (`1`), dimmed (`2`), green (`32`)… at a terminal, else as it is."""
        return f"\033[{code}m{text}\033[0m" if self._colours else text

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show one step and measure it."""
        step = Step(title)
        self.say()
        self.say(self.style(f"── {len(self.steps) + 1}. {title}", "1"))
        start = time.monotonic()
        yield step
        step.seconds = time.monotonic() - start
        self.steps.append(step)
        self.say(
            f"{self.style('✓', '32')} {step.proof or title}  {self.style(f'({step.seconds:.1f} s)', '2')}"
        )

    def show(self, file: Path) -> None:
        """Print a file, as `cat` does."""
        self._prompt(["cat", str(file.relative_to(self.directory))])
        self._indented(file.read_text(), "2")

    def run(
        self,
        *argv: str,
        expect_failure: bool = False,
        program: Path | None = None,
        env: Mapping[str, str] | None = None,
        only: Sequence[str] = (),
        seconds: float = _SECONDS,
    ) -> str:
        """Run a command, show it and what it prints, and return its output.

        `program` is what is really run for the first word; `env` is shown before it; of the output, `only`
        lines that hold one of these words are shown. DemoError if it fails, or does not where it should.
        """
        self._prompt(argv, env)
        try:
            done = subprocess.run(
                [str(program or argv[0]), *argv[1:]],
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                cwd=self.directory,
                env={**self.environment, **(env or {})},
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"`{shlex.join(argv)}` did not end in {seconds:g} s") from error
        lines = done.stdout.splitlines()
        shown = [line for line in lines if not only or any(word in line for word in only)]
        failed = done.returncode != 0
        self._indented("\n".join(lines if failed != expect_failure else shown), "")
        if failed != expect_failure:
            what = (
                f"failed (exit code {done.returncode})"
                if failed
                else "was expected to be refused, and was not"
            )
            raise DemoError(f"`{shlex.join(argv)}` {what}")
        return done.stdout

    def table(self, title: str) -> None:
        """Print what was proven and how long each step took."""
        self.say()
        self.say(self.style(title, "1"))
        width = max(len(step.title) for step in self.steps)
        proof = max(len(step.proof) for step in self.steps)
        self.say(f"  {'step':<{width}}  {'proven':<{proof}}  seconds")
        for step in self.steps:
            self.say(f"  {step.title:<{width}}  {step.proof:<{proof}}  {step.seconds:7.1f}")
        total = sum(step.seconds for step in self.steps)
        self.say(f"  {'all':<{width}}  {'':<{proof}}  {total:7.1f}")

    def _prompt(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        settings = [f"{name}={shlex.quote(value)}" for name, value in (env or {}).items()]
        words = " ".join(shlex.quote(word) for word in argv)
        prefix = "".join(f"{setting} \\\n      " for setting in settings)
        self.say(f"  {self.style('$', '2')} {self.style(prefix + words, '36')}")

    def _indented(self, text: str, code: str) -> None:
        for line in text.rstrip().splitlines():
            self.say("    " + (self.style(line, code) if code else line))
