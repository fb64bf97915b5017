"""Lengths of time, as people who use kubectl write them."""

import click
import pytest

from kubedr_server.cli.duration import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5", 0.5), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("500ms", 0.5)],
)
def test_a_length_of_time_is_read(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5s", "10 minutes", "m", "1d", "nan", "inf", "9" * 400])
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="such as 90s, 10m or 1h30m"):
        duration(text)
