#!/usr/bin/env python
"""Django's command line for the reference site."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one management command under the site's settings, or those of the environment."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "holdfast.runner.site.settings")
    if sys.argv[1:2] == ["holdfast"]:  # `up`, `demo` and help texts come before any settings
        from holdfast.runner.management.command import main as holdfast

        holdfast(sys.argv[2:])
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
