"""holdfast_node_cache: values of cached nodes, shared by all workers (P5)."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models


class NodeCacheEntry(models.Model):
    """One cached value under (namespace, key); expires_at NULL never expires."""

    id = models.BigAutoField(primary_key=True)
    namespace = ArrayField(models.TextField())
    key = models.TextField()
    type = models.CharField(max_length=100)
    value = models.BinaryField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, db_index=True)

    class Meta:
        db_table = "holdfast_node_cache"
        verbose_name = "cache entry"
        verbose_name_plural = "cache entries"
        constraints = [models.UniqueConstraint(fields=["namespace", "key"], name="holdfast_node_cache_key")]

    def __str__(self) -> str:
        return f"{'/'.join(self.namespace)} {self.key}"
