"""Beat entries of Holdfast, for a project to merge into its own schedule."""

from __future__ import annotations

from typing import Any

from celery.schedules import ParseException, crontab

from holdfast.conf import settings
from holdfast.errors import ConfigurationError


def beat_schedule() -> dict[str, dict[str, Any]]:
    """The entries, by name. Raises ConfigurationError for a crontab line that is none.

    ``app.conf.beat_schedule = {**app.conf.beat_schedule, **beat_schedule()}``
    """
    line = settings().PRUNE_CRONTAB
    try:
        minute, hour, day_of_month, month_of_year, day_of_week = line.split()
        due = crontab(
            minute=minute,
            hour=hour,
            day_of_month=day_of_month,
            month_of_year=month_of_year,
            day_of_week=day_of_week,
        )
    except (ValueError, ParseException) as error:
        raise ConfigurationError(
            f"HOLDFAST['PRUNE_CRONTAB'] is {line!r}, which is no crontab line of five fields: {error}.",
            setting="PRUNE_CRONTAB",
        ) from error
    return {"holdfast-prune": {"task": "holdfast.prune", "schedule": due}}
