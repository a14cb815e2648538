"""Which checkpoints of a thread elsewhere go: by the rules of saver/thinning.py, as its saver shows them; then they go.

What is not seen here stays, so that a run may be writing meanwhile: its newest checkpoint of those that are seen stays,
with what that needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from holdfast.persistence.backends.saver import GuardedSaver
from holdfast.persistence.backends.threads import all_of
from holdfast.persistence.saver.thinning import CheckpointKey, Known, Rule, Stored, Thinned, needed


class Outline:
    """A thread's checkpoints without their values."""

    def __init__(self, found: Iterable[CheckpointTuple]) -> None:
        self.known: list[Known] = []
        self.writes: dict[CheckpointKey, int] = {}
        self._holds: dict[CheckpointKey, tuple[set[str], set[str]]] = {}
        for each in found:
            key = each.config["configurable"].get("checkpoint_ns", ""), each.checkpoint["id"]
            self.known.append(_known(each, *key))
            self.writes[key] = len(each.pending_writes or ())
            self._holds[key] = (
                set(each.checkpoint["channel_values"]),
                set(each.checkpoint["channel_versions"]),
            )

    @property
    def newest(self) -> Known | None:
        """Of all namespaces."""
        return max(self.known, key=lambda each: each.id, default=None)

    def going(self, rule: Rule, begun: str | None) -> set[CheckpointKey]:
        """What the rule lets go and nothing that stays needs."""
        going = rule(self.known, begun)
        deltas: defaultdict[str, set[str]] = defaultdict(set)
        for each in self.known:
            deltas[each.namespace].update(each.deltas)
        stored = {}
        for (namespace, id_), (values, versions) in self._holds.items():
            missing = deltas[namespace] - values
            stored[namespace, id_] = Stored(missing, missing & versions)
        return going - needed(self.known, going, stored)


def thin(
    saver: GuardedSaver,
    thread_id: str,
    outline: Outline,
    rule: Rule,
    *,
    begun: str | None,
    dry_run: bool = False,
) -> Thinned:
    """Let go what the rule says of what was seen; ``begun``: the first checkpoint of a run that may be rolled back.

    Raises HistoryUnsupportedError, if there is something and the saver cannot; OutageError.
    """
    going = outline.going(rule, begun)
    if going and not dry_run:
        saver.delete(thread_id, going)
    return Thinned(len(going), sum(outline.writes[key] for key in going))


def outline_of(saver: GuardedSaver, thread_id: str) -> Outline:
    """All of the thread that is there. Raises TypeNotAllowedError, OutageError."""
    return Outline(all_of(saver, thread_id))


def _known(found: CheckpointTuple, namespace: str, id_: str) -> Known:
    checkpoint, metadata = found.checkpoint, found.metadata or {}
    parent = (found.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    deltas = {
        name for name, value in checkpoint["channel_values"].items() if isinstance(value, _DeltaSnapshot)
    }
    deltas.update(metadata.get("counters_since_delta_snapshot") or ())
    if "delta_writes_versioned" in metadata:  # LangGraph.js only marks that there are some
        deltas.update(checkpoint["channel_versions"])
    return Known(
        namespace=namespace,
        id=id_,
        parent=parent,
        root=metadata.get("parents", {}).get(""),
        run_id=metadata.get("run_id"),
        sent_by_parent=checkpoint["v"] < 4 and parent is not None,
        deltas=sorted(deltas),
    )
