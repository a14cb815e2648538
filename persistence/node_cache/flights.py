"""Single flight in the database: who computes a value of the node cache, and who waits for whom (P5, R21).

A ``Flight`` is one task's wish for one value; its parameters and statements stand here. Who asks when, waits and
computes is the runner's part. A leader's row is his lease: it lasts as long as that of his run (R8, R9), and
ends with the value, with his failure, or with his death.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

from langgraph.cache.base import FullKey

from holdfast.conf import settings
from holdfast.persistence import arrays
from holdfast.persistence.fence import Fence
from holdfast.persistence.node_cache.asking import Params
from holdfast.persistence.node_cache.cache import DjangoCache
from holdfast.persistence.node_cache.keys import digests, slot

_BRIEFLY: Final = 1.0
"""Seconds to try what would happen by itself when the run's attempt ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A named statement with its parameters."""

    name: str
    params: Params
    patience: float | None = None
    """Seconds for which it is repeated in an outage; None: LEASE."""


@dataclass(frozen=True, kw_only=True)
class Flight:
    """One task that needs one cached value."""

    cache: DjangoCache[Any]
    key: FullKey
    ttl: int | None
    fence: Fence
    inside: tuple[UUID, ...] = ()
    """The holders of the flights in which this one is needed: what they compute waits for it."""
    holder: UUID = field(default_factory=uuid4)
    """Of the flight that this task would lead."""
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digests(self.cache.version, [self.key])[0])

    @property
    def slot(self) -> int:
        """What the database finds entry and flight by."""
        return slot(self.digest)

    def lead(self) -> Ask:
        """Begin the flight: counts (whether the run is still ours, whether we lead)."""
        namespace, key = self.key
        return Ask(
            name="flight_lead",
            params={
                **self.fence.params,
                **self._mine(),
                "namespace": json.dumps(list(namespace)),
                "key": key,
                "version": self.cache.version,
                "lease": settings().LEASE,
            },
        )

    def release(self) -> Ask:
        """End it without a value."""
        return Ask(name="flight_release", params=self._mine(), patience=_BRIEFLY)

    def land(self, value: Any, *, cost: float, leads: bool) -> Ask:
        """Store the value, which took ``cost`` seconds, and end the flight. Raises NotSerializableError."""
        pairs: Mapping[FullKey, tuple[Any, int | None]] = {self.key: (value, self.ttl)}
        holder = self.holder if leads else None
        return Ask(name="cache_set", params=self.cache.to_store(pairs, cost=cost, holder=holder))

    def wait(self) -> Ask:
        """Note that those ``inside`` which this is needed wait for it."""
        return Ask(name="flight_wait", params={"slot": self.slot, "inside": list(self.inside)})

    def circle(self) -> Ask:
        """Whether it waits for one of those, too."""
        return Ask(name="flight_circle", params={"slot": self.slot, "inside": list(self.inside)})

    def _mine(self) -> Params:
        return {"slot": self.slot, "holder": self.holder}


def look(flights: Sequence[Flight]) -> Ask:
    """The slots of those for which waiting is over."""
    wanted = list({flight.digest for flight in flights})
    return Ask(
        name="flight_look",
        params={
            "slots": arrays.bigints([digest[:8] for digest in wanted]),
            "digests": arrays.blobs(wanted),
            "lease": settings().LEASE,
        },
    )


def renew(holders: Sequence[UUID]) -> Ask:
    """Renew the leases of flights that are led here."""
    return Ask(name="flight_renew", params={"holders": list(holders)})
