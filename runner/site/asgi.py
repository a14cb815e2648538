"""The reference site for ASGI servers."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from holdfast.runner.site.environment import SITE_SETTINGS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", SITE_SETTINGS)

application = get_asgi_application()
