"""One family of tables a file. The names of upstream's tables are upstream's."""

from __future__ import annotations

from holdfast.persistence.models.admin_views import (
    CheckpointChannelView,
    CheckpointView,
    CheckpointWriteView,
    StoreItemView,
)
from holdfast.persistence.models.checkpoints import Checkpoint, CheckpointBlob, CheckpointWrite
from holdfast.persistence.models.effects import Effect, EffectState
from holdfast.persistence.models.node_cache import NodeCacheEntry, NodeFlight
from holdfast.persistence.models.runs import (
    CancelRequest,
    Entry,
    Incarnation,
    RunRow,
    RunStatus,
    Step,
    Thread,
)
from holdfast.persistence.models.store import StoreItem

__all__ = [
    "CancelRequest",
    "Checkpoint",
    "CheckpointBlob",
    "CheckpointChannelView",
    "CheckpointView",
    "CheckpointWrite",
    "CheckpointWriteView",
    "Effect",
    "EffectState",
    "Entry",
    "Incarnation",
    "NodeCacheEntry",
    "NodeFlight",
    "RunRow",
    "RunStatus",
    "Step",
    "StoreItem",
    "StoreItemView",
    "Thread",
]
