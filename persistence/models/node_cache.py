"""holdfast_node_cache: values of cached nodes, shared by all workers; holdfast_node_flight: who computes one (P5)."""

from __future__ import annotations

from django.db import models

from holdfast.persistence.models.arrays import Array


class NodeCacheEntry(models.Model):
    """One cached value under (namespace, key) and version; expires_at NULL never expires."""

    id = models.BigAutoField(primary_key=True)
    slot = models.BigIntegerField(unique=True)
    """The first 64 bits of the digest, by which an entry is found."""
    digest = models.BinaryField()
    """Of version, namespace and key (``node_cache.keys``)."""
    namespace = Array(models.TextField())
    key = models.TextField()
    version = models.TextField(default="")
    """The graph, and the ``cache_version`` that it was registered with: ``orders``, ``orders@2``; empty outside of runs."""
    type = models.TextField()
    value = models.BinaryField()
    cost = models.FloatField(null=True)
    """Seconds that computing it took; NULL where nobody measured it."""
    hits = models.BigIntegerField(default=0)
    """How often it was taken from here, or waited for, instead of being computed; up to some seconds old."""
    misses = models.BigIntegerField(default=0)
    """How often it was computed and stored."""
    saved = models.FloatField(default=0.0)
    """Seconds of computing that the hits have saved."""
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, db_index=True)
    used_at = models.DateTimeField(null=True)
    """Its last hit; NULL before the first."""

    class Meta:
        db_table = "holdfast_node_cache"
        verbose_name = "cache entry"
        verbose_name_plural = "cache entries"

    def __str__(self) -> str:
        return f"{'/'.join(self.namespace)} {self.key}"


class NodeFlight(models.Model):
    """A value of the node cache that somebody computes at the moment: the leader's lease on it."""

    slot = models.BigIntegerField(primary_key=True)
    """Of the entry that is to be."""
    namespace = Array(models.TextField())
    key = models.TextField()
    version = models.TextField(default="")
    holder = models.UUIDField()
    """Of this leader and this flight only."""
    run_id = models.UUIDField()
    token = models.UUIDField()
    """Of the leader's attempt at the run: the flight ends with it."""
    begun_at = models.DateTimeField()
    renewed_at = models.DateTimeField()
    waits_for = Array(models.BigIntegerField())
    """Slots of the flights that what is computed here waits for."""

    class Meta:
        db_table = "holdfast_node_flight"

    def __str__(self) -> str:
        return f"{'/'.join(self.namespace)} {self.key}"
