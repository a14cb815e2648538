"""A task of the project's own, with its result in the project's own backend."""

from celery import shared_task

from .models import Order


@shared_task
def count():
    """How many orders there are."""
    return Order.objects.count()
