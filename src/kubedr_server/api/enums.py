"""Reads what is written below an enumeration's members: Python keeps no docstring of theirs."""

import ast
import inspect
import textwrap
from enum import Enum


def documented_members(enumeration: type[Enum]) -> dict[str, str]:
    """Return each member's value and its description, in one line and in the order of the source.

    Raises ValueError for a member without a description, and OSError where the source is not at hand.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(enumeration)))
    definition = tree.body[0]
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{enumeration} is not a class")
    described: dict[str, str] = {}
    for statement, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        match following:
            case ast.Expr(value=ast.Constant(value=str() as text)):
                member = enumeration[statement.targets[0].id]
                described[str(member.value)] = " ".join(text.split())
            case _:
                name = statement.targets[0].id
                raise ValueError(f"{enumeration.__name__}.{name} has no description below it")
    return described
