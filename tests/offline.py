"""Settings for tools that read models and never a database: mypy and makemigrations --check."""

from __future__ import annotations

import os

os.environ.setdefault("HOLDFAST_WITHOUT_DATABASE", "1")

from holdfast.runner.site.settings import *  # noqa: F403 - the same site, without its database
