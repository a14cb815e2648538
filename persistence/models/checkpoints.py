"""Upstream's checkpoint tables, for reading. LangGraph's savers write them; nothing here does.

The columns are upstream's; Django neither makes, alters nor drops the tables (migration 0001 does
what ``PostgresSaver.setup()`` would).
"""

from __future__ import annotations

from django.db import models


class Checkpoint(models.Model):
    """One saved state of a thread; ``checkpoint_id`` is a UUIDv6 and sorts by time."""

    pk = models.CompositePrimaryKey("thread_id", "checkpoint_ns", "checkpoint_id")
    thread_id = models.TextField()
    checkpoint_ns = models.TextField(default="")
    checkpoint_id = models.TextField()
    parent_checkpoint_id = models.TextField(null=True)  # noqa: DJ001 - NULL: the first, or its parent was pruned
    type = models.TextField(null=True)  # noqa: DJ001 - upstream's, always NULL
    checkpoint = models.JSONField()
    metadata = models.JSONField(default=dict)

    class Meta:
        managed = False
        db_table = "checkpoints"

    def __str__(self) -> str:
        return f"{self.thread_id} {self.checkpoint_id}"


class CheckpointBlob(models.Model):
    """The value of one channel at one version, shared by all checkpoints that have this version."""

    pk = models.CompositePrimaryKey("thread_id", "checkpoint_ns", "channel", "version")
    thread_id = models.TextField()
    checkpoint_ns = models.TextField(default="")
    channel = models.TextField()
    version = models.TextField()
    type = models.TextField()
    blob = models.BinaryField(null=True)

    class Meta:
        managed = False
        db_table = "checkpoint_blobs"

    def __str__(self) -> str:
        return f"{self.thread_id} {self.channel} {self.version}"


class CheckpointWrite(models.Model):
    """One write of a task of the checkpoint's next step; what resuming does not repeat."""

    pk = models.CompositePrimaryKey("thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx")
    thread_id = models.TextField()
    checkpoint_ns = models.TextField(default="")
    checkpoint_id = models.TextField()
    task_id = models.TextField()
    idx = models.IntegerField()
    channel = models.TextField()
    type = models.TextField(null=True)  # noqa: DJ001 - upstream's
    blob = models.BinaryField()
    task_path = models.TextField(default="")

    class Meta:
        managed = False
        db_table = "checkpoint_writes"

    def __str__(self) -> str:
        return f"{self.thread_id} {self.channel} {self.task_id}"
