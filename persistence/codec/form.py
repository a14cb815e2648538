"""What a value is stored as: a name, and what it is built from again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
)


class Form(NamedTuple):
    """One value as it is stored: how its argument is passed, to which type, and the argument."""

    code: int
    module: str
    name: str
    argument: Any
    rest: tuple[Any, ...] = ()
    trusted: bool = True
    """Whether the name is one of ours; otherwise it is the type's own, which has to be allowed and to be found."""


class Bare(NamedTuple):
    """One value that is stored under no name."""

    code: int
    payload: Any


class Derived(NamedTuple):
    """A subclass of a plain type: stored under its own name if that is allowed, else as the plain value."""

    form: Form
    plain: Any


class Pairs(NamedTuple):
    """A dict, as pairs."""

    pairs: list[Any]


Giver = Callable[[Any], Any]
"""Gives what is stored in the place of a value: one of the above, or a plain value. Raises TypeError."""


def one(value: Any, argument: Any) -> Form:
    """Built from one argument, under the type's own name."""
    kind = type(value)
    return Form(EXT_CONSTRUCTOR_SINGLE_ARG, kind.__module__, kind.__name__, argument, trusted=False)


def several(value: Any, *arguments: Any) -> Form:
    """Built from several arguments, under the type's own name."""
    kind = type(value)
    return Form(EXT_CONSTRUCTOR_POS_ARGS, kind.__module__, kind.__name__, [*arguments], trusted=False)


def named(value: Any, arguments: dict[str, Any], code: int = EXT_CONSTRUCTOR_KW_ARGS, *rest: Any) -> Form:
    """Built from named arguments, under the type's own name."""
    kind = type(value)
    return Form(code, kind.__module__, kind.__name__, arguments, rest, trusted=False)


def refuse(value: Any) -> Any:
    """For types that have no form."""
    raise TypeError(
        f"There is no form for a {type(value).__module__}.{type(value).__qualname__}: store a dataclass, a pydantic model "
        "or plain data."
    )


def attributes(value: Any, names: tuple[str, ...]) -> Form:
    """Built from its attributes of these names."""
    return named(value, {name: getattr(value, name) for name in names})
