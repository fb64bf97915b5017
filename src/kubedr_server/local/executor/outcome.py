"""How a program ended, kept on disk until the API knows it: a crash in between must not lose it."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from kubedr_server.local.executor.pod_status import MAX_TERMINATION_MESSAGE, Termination


def remember(path: Path, end: Termination) -> None:
    """Write an outcome down. Blocks."""
    known = asdict(end) | {"started": end.started.isoformat(), "finished": end.finished.isoformat()}
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(known), "utf-8")
    temporary.replace(path)


def recall(path: Path) -> Termination | None:
    """Return the outcome that was written down; None if there is none. Blocks."""
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    known |= {key: datetime.fromisoformat(known[key]) for key in ("started", "finished")}
    return Termination(**known)


def termination_message(path: Path) -> str:
    """Return the end of the file that a container reports in; empty if it wrote none. Blocks."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TERMINATION_MESSAGE + 1)
            if len(data) > MAX_TERMINATION_MESSAGE:
                file.seek(-MAX_TERMINATION_MESSAGE, 2)
                data = file.read()
    except OSError:
        return ""
    return data.decode(errors="replace")
