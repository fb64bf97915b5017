"""Log lines."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from kubedr_server.ops import logging as ops_logging


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    access, error = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn.error")
    before = access.disabled, error.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    access.disabled, error.level = before


def test_a_json_line_has_its_time_level_message_and_what_was_added() -> None:
    stream = io.StringIO()
    ops_logging.set_up("json", "info", stream)
    logging.getLogger("a.b").warning("disk %s", "full", extra={"bytes": 3})
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "logger": "a.b", "message": "disk full", "bytes": 3}


def test_an_exception_is_one_json_line_too() -> None:
    stream = io.StringIO()
    ops_logging.set_up("json", "info", stream)
    try:
        int("no")
    except ValueError:
        logging.getLogger("a").exception("failed")
    assert len(stream.getvalue().splitlines()) == 1
    assert "ValueError: invalid literal" in json.loads(stream.getvalue())["exception"]


def test_a_line_of_text_cannot_be_split_by_what_is_logged() -> None:
    stream = io.StringIO()
    ops_logging.set_up("text", "debug", stream)
    logging.getLogger("a").debug("one\ntwo", extra={"n": 1})
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("DEBUG   a: one\\ntwo n=1\n")


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    ops_logging.set_up("json", "warning", stream)
    logging.getLogger("a").info("quiet")
    assert not stream.getvalue()
