"""The reference site for ASGI servers."""

from __future__ import annotations

import os
import warnings

from django.core.asgi import get_asgi_application

from holdfast.runner.site.environment import SITE_SETTINGS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", SITE_SETTINGS)

# WhiteNoise streams static files from an iterator of its own; they are small, and read in a thread.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

application = get_asgi_application()
