"""Read-only models over views of upstream's tables, for Django's admin.

Django's admin refuses models with a composite primary key, which upstream's tables have; the
views add a key of one column, the JSON array of the parts, which leads back to the row by its
index. Nothing is ever written through these models, and nothing but the admin reads them.
"""

from __future__ import annotations

import json

from django.db import models


class CheckpointView(models.Model):
    """One checkpoint, with what its metadata says of it and the stored size of all its channels."""

    key = models.TextField(primary_key=True)
    thread_id = models.TextField("thread")
    checkpoint_ns = models.TextField("namespace")
    checkpoint_id = models.TextField("checkpoint")
    parent_checkpoint_id = models.TextField("parent", null=True)  # noqa: DJ001 - NULL: the thread's first
    ts = models.TextField("written", null=True)  # noqa: DJ001 - upstream's ISO text, which may be missing
    step = models.IntegerField(null=True)
    source = models.TextField(null=True)  # noqa: DJ001 - NULL: the metadata does not say
    size = models.BigIntegerField("bytes")
    metadata = models.JSONField()
    checkpoint = models.JSONField()

    class Meta:
        managed = False
        db_table = "holdfast_checkpoint_view"
        default_permissions = ("view",)
        verbose_name = "checkpoint"

    def __str__(self) -> str:
        return self.checkpoint_id

    @staticmethod
    def make_key(thread_id: str, checkpoint_ns: str, checkpoint_id: str) -> str:
        """The key of a checkpoint. Equal in meaning, though not always in spelling, to the view's own."""
        return json.dumps([thread_id, checkpoint_ns, checkpoint_id], ensure_ascii=False)

    @staticmethod
    def parts(key: str) -> tuple[str, str, str] | None:
        """Thread, namespace and checkpoint id of a key; None if the text is no key."""
        try:
            found = json.loads(key)
        except ValueError:
            return None
        if isinstance(found, list) and len(found) == 3 and all(isinstance(part, str) for part in found):
            return found[0], found[1], found[2]
        return None


class CheckpointChannelView(models.Model):
    """One channel of one checkpoint, with the stored value that the checkpoint refers to."""

    key = models.TextField(primary_key=True)
    thread_id = models.TextField()
    checkpoint_ns = models.TextField()
    checkpoint_id = models.TextField()
    channel = models.TextField()
    version = models.TextField()
    type = models.TextField()
    size = models.BigIntegerField()
    blob = models.BinaryField(null=True)

    class Meta:
        managed = False
        db_table = "holdfast_checkpoint_channel_view"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.channel} {self.version}"


class CheckpointWriteView(models.Model):
    """One write of a task that follows a checkpoint, in the order in which LangGraph applies them."""

    key = models.TextField(primary_key=True)
    thread_id = models.TextField()
    checkpoint_ns = models.TextField()
    checkpoint_id = models.TextField()
    task_path = models.TextField()
    task_id = models.TextField()
    idx = models.IntegerField()
    channel = models.TextField()
    type = models.TextField(null=True)  # noqa: DJ001 - as upstream has it
    size = models.BigIntegerField()
    blob = models.BinaryField()

    class Meta:
        managed = False
        db_table = "holdfast_checkpoint_write_view"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.task_id} {self.idx} {self.channel}"


class StoreItemView(models.Model):
    """One item of the store."""

    id = models.TextField(primary_key=True)
    prefix = models.TextField("namespace")
    key = models.TextField()
    created_at = models.DateTimeField("created", null=True)
    updated_at = models.DateTimeField("updated", null=True)
    expires_at = models.DateTimeField("expires", null=True)
    size = models.BigIntegerField("bytes")
    value = models.JSONField()

    class Meta:
        managed = False
        db_table = "holdfast_store_view"
        default_permissions = ("view",)
        verbose_name = "store item"

    def __str__(self) -> str:
        return f"{self.prefix} {self.key}"

    @staticmethod
    def parts(id_: str) -> tuple[str, str] | None:
        """Namespace and key of an id; None if the text is no id."""
        try:
            found = json.loads(id_)
        except ValueError:
            return None
        if isinstance(found, list) and len(found) == 2 and all(isinstance(part, str) for part in found):
            return found[0], found[1]
        return None
