"""Which checkpoints of a thread go and which have to stay with those that stay (P10); then they go.

A rule says which should go. Nevertheless stay the ancestors from which a DeltaChannel of a kept checkpoint is
rebuilt, up to the newest one that stored its value, and the parent of a checkpoint before format 4, where its
sends stand. Whoever calls this sees to it that nobody forks or replays what goes. A run may be writing meanwhile:
a checkpoint in flight refers to values of its parent; that is the newest one seen here, which stays, or one in
flight itself, of which nothing is seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from holdfast.persistence import arrays
from holdfast.persistence.saver.asking import Ask, Steps

CheckpointKey = tuple[str, str]  # namespace, checkpoint


class Known(NamedTuple):
    """One checkpoint of the thread, as thread_outline shows it."""

    namespace: str
    id: str
    parent: str | None
    root: str | None
    """The root checkpoint that its subgraph call started from."""
    run_id: str | None
    sent_by_parent: bool
    """Whether what it sent stands with its parent's writes."""
    deltas: list[str]
    """Its channels that are DeltaChannels by what it shows itself."""


Rule = Callable[[Sequence[Known], str | None], set[CheckpointKey]]
"""Which of the thread's checkpoints should go, given the first one of a run that may be rolled back."""


class Stored(NamedTuple):
    """What a checkpoint stores of the DeltaChannels."""

    missing: Set[str]
    """Those whose value it does not store."""
    rebuilt: Set[str]
    """Those of them that it has a version of: their value is rebuilt from its ancestors."""


class Thinned(NamedTuple):
    """How many rows went."""

    checkpoints: int = 0
    writes: int = 0
    blobs: int = 0


def thin(thread_id: str, rule: Rule, *, with_runs: bool = False) -> Steps[Thinned]:
    """Let go what the rule says, and nothing that what stays needs; ``with_runs``: or that a rollback needs."""
    thread = {"thread_id": thread_id}
    known = [Known(*row) for row in (yield Ask("thread_outline", thread, prepare=False))]
    begun = (yield Ask("thread_begun_on", thread)) if with_runs else ()
    going = rule(known, begun[0][0] if begun else None)
    if not going:
        return Thinned()
    deltas: defaultdict[str, set[str]] = defaultdict(set)
    for each in known:
        deltas[each.namespace].update(each.deltas)
    stored: dict[CheckpointKey, Stored] = {}
    for namespace, channels in deltas.items():
        if channels:
            params = {**thread, "checkpoint_ns": namespace, "channels": sorted(channels)}
            rows = yield Ask("thread_rebuilt", params, prepare=False)
            stored |= {(namespace, row[0]): Stored(set(row[1]), set(row[2])) for row in rows}
    going -= needed(known, going, stored)
    if not going:
        return Thinned()
    rows = yield Ask("thread_delete_some", doomed(thread_id, going), prepare=False)
    return Thinned(*rows[0])


def doomed(thread_id: str, keys: Collection[CheckpointKey]) -> dict[str, Any]:
    """What ``thread_delete_some`` is given: at least one checkpoint."""
    namespaces, ids = zip(*sorted(keys), strict=True)
    return {"thread_id": thread_id, "namespaces": arrays.texts(namespaces), "ids": arrays.texts(ids)}


def of_runs(run_ids: Collection[str]) -> Rule:
    """The checkpoints that these runs made."""
    return lambda known, _: {(each.namespace, each.id) for each in known if each.run_id in run_ids}


def older(keep: Callable[[str | None], int | None], *, heads: bool = False) -> Rule:
    """Root checkpoints that are not among the newest ``keep(run id)`` (None: it stays), and what belongs to them.

    A subgraph call, whose namespace ends in a task id, goes with the root checkpoint that it started from, once
    that one is saved. Of a subgraph with a memory of its own goes what is older than the state it had at the
    oldest kept root. ``heads``: of namespaces that stay, too, only the newest checkpoint does.
    """

    def rule(known: Sequence[Known], begun: str | None) -> set[CheckpointKey]:
        spaces: defaultdict[str, list[Known]] = defaultdict(list)
        for each in known:
            spaces[each.namespace].append(each)
        roots = sorted(spaces.pop("", ()), key=lambda each: each.id, reverse=True)
        gone = {
            each.id
            for place, each in enumerate(roots, start=1)
            if (newest := keep(each.run_id)) is not None and place > newest
        }
        if begun is not None:  # a rollback leads back to the one before
            gone.discard(max((each.id for each in roots if each.id < begun), default=""))
        oldest = min((each.id for each in roots if each.id not in gone), default="")
        going = {("", id_) for id_ in gone}
        for namespace, members in spaces.items():
            is_call = ":" in namespace
            if is_call and all(each.root in gone for each in members):
                going.update((namespace, each.id) for each in members)
            elif heads or not is_call:
                stays = max((each.id for each in members if heads or each.id <= oldest), default="")
                going.update((namespace, each.id) for each in members if each.id < stays)
        return going

    return rule


def needed(
    known: Iterable[Known], going: Set[CheckpointKey], stored: Mapping[CheckpointKey, Stored]
) -> set[CheckpointKey]:
    """Those that what stays cannot do without."""
    parents = {(each.namespace, each.id): each.parent for each in known}
    nothing = Stored(frozenset(), frozenset())
    needed: set[CheckpointKey] = set()
    for each in known:
        key = (each.namespace, each.id)
        if key in going:
            continue
        if each.sent_by_parent and each.parent:
            needed.add((each.namespace, each.parent))
        missing = stored.get(key, nothing).rebuilt
        # Up to one that stores what is missing; a kept one looks for itself.
        while missing and (parent := parents.get(key)) and (key := (each.namespace, parent)) in going:
            needed.add(key)
            missing = missing & stored.get(key, nothing).missing
    return needed
