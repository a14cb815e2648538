"""Types that the tests of the codec store, or are not allowed to."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import BaseModel


@dataclass
class Stranger:
    """A type that nobody has allowed."""

    value: object


@dataclass(frozen=True)
class Order:
    number: int
    note: object = None
    total: int = field(init=False, default=0)


class Address(BaseModel):
    street: str
    extra: object = None


class Colour(enum.StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Outer:
    @dataclass
    class Inner:
        value: int
