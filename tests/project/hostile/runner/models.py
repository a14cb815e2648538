"""The project's own rows."""

from django.db import models


class Order(models.Model):
    """What the view writes beside the run."""

    status = models.CharField(max_length=20, default="new")
    run = models.UUIDField(null=True)

    def __str__(self):
        return f"order {self.pk}"
