"""The smallest Django project that a benchmark needs: one app with graphs, one Celery app beside it."""
