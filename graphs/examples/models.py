"""What the digest publishes into: one table."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Publication(models.Model):
    """A published digest. The key is the effect's, so that no digest is published twice."""

    key = models.CharField(max_length=255, unique=True)
    title = models.CharField(max_length=200)
    body = models.TextField()
    path = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Publication]] = models.Manager()

    class Meta:
        db_table = "holdfast_example_publication"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.title
