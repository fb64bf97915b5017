"""Field paths and the list of what is wrong, in the words of the Kubernetes API server.

A person who reads a refusal should not be able to tell whether the API server or KubeDR wrote
it: the same kinds of errors, the same order of path, kind, value and detail.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

MAX_SHOWN_VALUE: Final = 256
"""A value is cut in a message after this many characters: a review may hold megabytes."""

MAX_ERRORS: Final = 100
"""No more errors than this are listed for one object."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where a value stands in an object, such as `spec.options[colour]`.

    Each step is a field (`str`), a list's index (`int`) or a map's key (`(key,)`).
    """

    steps: tuple[str | int | tuple[str], ...] = ()

    def child(self, *names: str) -> "Path":
        """Go to a field."""
        return Path((*self.steps, *names))

    def index(self, position: int) -> "Path":
        """Go to an item of a list."""
        return Path((*self.steps, position))

    def key(self, key: str) -> "Path":
        """Go to a value of a map."""
        return Path((*self.steps, (key,)))

    def __str__(self) -> str:
        text = ""
        for step in self.steps:
            match step:
                case str():
                    text += f".{step}" if text else step
                case int():
                    text += f"[{step}]"
                case (key,):
                    text += f"[{shown(key)}]"
        return text

    def find(self, document: Any) -> Any:
        """Return the value that stands here in a JSON document; `ABSENT` if there is none."""
        for step in self.steps:
            name = step[0] if isinstance(step, tuple) else step
            if isinstance(name, int):
                if not isinstance(document, list) or name >= len(document):
                    return ABSENT
                document = document[name]
            elif isinstance(document, dict) and name in document:
                document = document[name]
            else:
                return ABSENT
        return document


class _Absent(Enum):
    ABSENT = "absent"


ABSENT: Final = _Absent.ABSENT
"""What `Path.find` returns where nothing stands. (A JSON null is a value.)"""


class ErrorType(Enum):
    """The kind of a field error: the cause's `reason`, and the word that its message begins with."""

    REQUIRED = ("FieldValueRequired", "Required value")
    INVALID = ("FieldValueInvalid", "Invalid value")
    TYPE_INVALID = ("FieldValueTypeInvalid", "Invalid value")
    NOT_SUPPORTED = ("FieldValueNotSupported", "Unsupported value")
    DUPLICATE = ("FieldValueDuplicate", "Duplicate value")
    FORBIDDEN = ("FieldValueForbidden", "Forbidden")
    TOO_LONG = ("FieldValueTooLong", "Too long")
    TOO_MANY = ("FieldValueTooMany", "Too many")

    @property
    def reason(self) -> str:
        """The `reason` of a `metav1.StatusCause`."""
        return self.value[0]

    @property
    def words(self) -> str:
        """What the message begins with."""
        return self.value[1]


_WITHOUT_VALUE: Final = frozenset({ErrorType.REQUIRED, ErrorType.FORBIDDEN, ErrorType.TOO_LONG})


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with one field."""

    type: ErrorType
    path: Path
    value: Any
    detail: str

    @property
    def message(self) -> str:
        """The error without its path: `Invalid value: "x": must be …`."""
        text = self.type.words
        if self.type not in _WITHOUT_VALUE:
            text += f": {quoted(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    def to_cause(self) -> dict[str, Any]:
        """Return the `metav1.StatusCause`."""
        return {"reason": self.type.reason, "message": self.message, "field": str(self.path)}


class Errors:
    """Collects all that is wrong with an object, so that a person reads it all at once."""

    def __init__(self) -> None:
        self.items: list[FieldError] = []

    def __len__(self) -> int:
        return len(self.items)

    def __bool__(self) -> bool:
        return bool(self.items)

    def _add(self, kind: ErrorType, path: Path, value: Any, detail: str) -> None:
        if len(self.items) < MAX_ERRORS:
            self.items.append(FieldError(kind, path, value, detail))

    def required(self, path: Path, detail: str = "") -> None:
        """Say that the value is missing or empty."""
        self._add(ErrorType.REQUIRED, path, None, detail)

    def invalid(self, path: Path, value: Any, detail: str) -> None:
        """Say that the value is malformed or out of bounds; the detail says what it must be."""
        self._add(ErrorType.INVALID, path, value, detail)

    def wrong_type(self, path: Path, value: Any, wanted: str) -> None:
        """Say that the value is of another JSON type than the one wanted, such as `an integer`."""
        self._add(ErrorType.TYPE_INVALID, path, value, f"must be {wanted}")

    def not_supported(self, path: Path, value: Any, supported: Iterable[str]) -> None:
        """Say that the value is none of those listed."""
        listed = ", ".join(f'"{one}"' for one in supported)
        self._add(ErrorType.NOT_SUPPORTED, path, value, f"supported values: {listed}")

    def duplicate(self, path: Path, value: Any) -> None:
        """Say that the value stands there twice."""
        self._add(ErrorType.DUPLICATE, path, value, "")

    def forbidden(self, path: Path, detail: str) -> None:
        """Say that the field may not be set, whatever its value."""
        self._add(ErrorType.FORBIDDEN, path, None, detail)

    def too_long(self, path: Path, limit: int) -> None:
        """Say that the string has more characters than the limit."""
        self._add(ErrorType.TOO_LONG, path, None, f"may not be more than {limit} characters")

    def too_many(self, path: Path, count: int, limit: int) -> None:
        """Say that the list or map has more items than the limit."""
        self._add(ErrorType.TOO_MANY, path, count, f"must have at most {limit} items")

    def touches(self, path: Path) -> bool:
        """Whether something is already known to be wrong at the path: finer checks are then skipped."""
        return any(error.path == path for error in self.items)


def quoted(value: Any) -> str:
    """Show a value in a message as the API server does: strings quoted, all else as JSON."""
    if isinstance(value, str):
        return json.dumps(shown(value), ensure_ascii=False)
    if isinstance(value, dict | list):
        return f'"{"object" if isinstance(value, dict) else "array"}"'
    if isinstance(value, int) and abs(value) >= 10**40:
        return "an integer of more than 40 digits"
    return json.dumps(value)


def shown(text: str) -> str:
    """Cut a text for a message."""
    return text if len(text) <= MAX_SHOWN_VALUE else text[:MAX_SHOWN_VALUE] + "…"


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; `true` is not `1`, and `1` is `1.0`."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def unless_untouched(errors: Iterable[FieldError], new: Any, old: Any) -> list[FieldError]:
    """Leave out the errors of fields that an update does not touch.

    An object that was stored before a rule existed must still be changeable elsewhere:
    else its finalizer could not be removed, nor its mistakes be corrected one by one. What counts is
    the field of the spec, `spec.resources` as a whole: its parts are judged against each other.
    """
    return [
        error
        for error in errors
        if not same((field := Path(error.path.steps[:2])).find(new), field.find(old))
    ]
