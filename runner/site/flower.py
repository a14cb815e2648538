"""Flower with its metrics behind the password of its pages: ``python -m holdfast.runner.site.flower -A app flower …``

Flower asks nobody who reads ``/metrics`` for a password, and they name tasks and workers. This takes the arguments
of ``celery``, and ``/healthcheck``, which only says OK, stays open for probes. Without any login it listens on
loopback or not at all: whoever reaches Flower may end tasks and stop workers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def guarded(argv: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether somebody who is not on this machine is asked for a login, or cannot reach it at all."""
    given = {name: value for name, _, value in (word.partition("=") for word in argv)}
    logins = (given.get("--basic_auth"), given.get("--basic-auth"), given.get("--auth"))
    named = given.get("--address") or environment.get("FLOWER_ADDRESS")
    return (
        any(logins)
        or any(environment.get(name) for name in ("FLOWER_BASIC_AUTH", "FLOWER_AUTH"))
        or named in _LOOPBACK
        or bool(given.get("--unix_socket") or given.get("--unix-socket"))
    )


def main(argv: Sequence[str]) -> int:
    """Run the command ``celery`` with these arguments; exit code 2 where Flower would be open to a network."""
    if not guarded(argv, os.environ):
        print(
            "Flower would be open to everybody who reaches this machine: set FLOWER_BASIC_AUTH to user:password, "
            "or say --address=127.0.0.1.",
            file=sys.stderr,
        )
        return 2
    from celery.bin.celery import main as celery
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    Metrics.get = authenticated(Metrics.get)
    sys.argv[:] = ["celery", *argv]
    return int(celery() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
