"""Quantities such as `100m` or `1.5Gi`, by Kubernetes' grammar."""

import re
from decimal import Decimal
from typing import Final

_QUANTITY: Final = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:(?P<suffix>Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,3}))?"
)
_SUFFIXES: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}
_MAX_LENGTH: Final = 64
_MAX: Final = Decimal(2**63 - 1)
"""Kubernetes takes what is more for this."""

PATTERN_WORDS: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)


def parse(value: str | float) -> Decimal | None:
    """Return what a quantity amounts to; None if it is none. A bare number is one, too."""
    text = str(value)
    if len(text) > _MAX_LENGTH:
        return None
    match = _QUANTITY.fullmatch(text)
    if not match:
        return None
    number = Decimal(match["number"])
    if match["exponent"]:
        amount = number.scaleb(int(match["exponent"]))
    else:
        amount = number * _SUFFIXES[match["suffix"] or ""]
    return min(amount, _MAX)
