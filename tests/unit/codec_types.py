"""Types that the tests of the codec store, or are not allowed to."""

from __future__ import annotations

import enum
from dataclasses import InitVar, dataclass, field
from typing import NamedTuple

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, RootModel, computed_field


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


class Derived(Address):
    """More than its base class, in whose place it may stand."""

    more: list[object] = []


class Holder(BaseModel):
    """Fields that the constructor knows by other names, one of which is another field's; one that is not dumped."""

    model_config = ConfigDict(extra="allow")

    first: int = Field(default=0, alias="second")
    second: int = Field(default=0, alias="first")
    inner: Address | None = Field(default=None, validation_alias=AliasChoices("in", "inside"))
    hidden: str = Field(default="", exclude=True)

    @computed_field
    @property
    def total(self) -> int:
        return self.first + self.second


class Numbers(RootModel[list[int]]):
    """A model that is a list."""


class Checked(BaseModel):
    """Its rules refuse what somebody may have put in later."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(default=1, gt=0)


class Place(enum.Enum):
    """Values that are tuples."""

    HERE = (1, 2)
    THERE = (3, 4)


class Right(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclass(kw_only=True, slots=True)
class Job:
    """A dataclass with a field that its constructor does not take, and one that it works out."""

    name: str
    parts: tuple[object, ...] = ()
    done: bool = field(init=False, default=False)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.name)


@dataclass
class Opened:
    """A dataclass whose constructor wants something that is no field."""

    value: object
    seed: InitVar[int]

    def __post_init__(self, seed: int) -> None:
        self.value = self.value or seed


class Tags(list[str]):
    """A list with a name."""


class Outer:
    @dataclass
    class Inner:
        value: int
