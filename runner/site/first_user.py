"""``python -m holdfast.runner.site.first_user NAME FILE``: the superuser of an embedded database.

Makes it if it is missing, and gives it the password in the file, so that both agree.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(name: str, password_file: str) -> None:
    """Make the user or renew its password."""
    import django

    django.setup()
    from django.contrib.auth.models import User

    password = Path(password_file).read_text("ascii").strip()
    user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": True, "is_superuser": True})
    if not user.check_password(password):
        user.set_password(password)
        user.save(update_fields=["password"])


if __name__ == "__main__":
    main(*sys.argv[1:3])
