"""The reference site for WSGI servers."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from holdfast.runner.site.environment import SITE_SETTINGS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", SITE_SETTINGS)

application = get_wsgi_application()
