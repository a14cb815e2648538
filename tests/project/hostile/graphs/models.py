"""Not LangGraph's graphs."""

from django.db import models


class Diagram(models.Model):
    """A drawing."""

    title = models.CharField(max_length=100)

    def __str__(self):
        return self.title
