"""Flower with its metrics behind the password of its pages: ``python -m holdfast.runner.site.flower -A app flower …``

Flower asks nobody who reads ``/metrics`` for a password, and they name tasks and workers. This takes the arguments
of ``celery``, and ``/healthcheck``, which only says OK, stays open for probes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Run the command ``celery`` with these arguments."""
    from celery.bin.celery import main as celery
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    Metrics.get = authenticated(Metrics.get)
    sys.argv[:] = ["celery", *argv]
    return int(celery() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
