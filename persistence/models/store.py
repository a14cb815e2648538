"""Upstream's store table, for reading. ``DjangoStore`` writes it."""

from __future__ import annotations

from django.db import models


class StoreItem(models.Model):
    """One item of long-term memory; ``prefix`` is the namespace, joined by dots."""

    pk = models.CompositePrimaryKey("prefix", "key")
    prefix = models.TextField()
    key = models.TextField()
    value = models.JSONField()
    created_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    ttl_minutes = models.IntegerField(null=True)

    class Meta:
        managed = False
        db_table = "store"

    def __str__(self) -> str:
        return f"{self.prefix} {self.key}"
