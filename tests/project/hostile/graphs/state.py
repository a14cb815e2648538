"""The state of a fulfilment."""

import operator
from typing import Annotated, TypedDict


class Fulfilment(TypedDict, total=False):
    """An order on its way."""

    order: int
    seconds: float
    ask: bool
    log: Annotated[list[str], operator.add]
