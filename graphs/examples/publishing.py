"""The two effects with which a digest is published: a file and a database row.

The file is a ``keyed`` effect: its name holds the idempotency key, and it is put in its place whole,
so that writing it again changes nothing. The row is ``transactional``: it commits together with the
record that it happened.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from holdfast.conf import settings
from holdfast.runner.effects import current_effect, task


@task(effect="keyed")
def write_file(folder: str, title: str, body: str) -> str:
    """Write the digest into the folder, which is made if missing; returns the file's path."""
    target = Path(folder, f"{slug(title)}-{short(current_effect().key)}.md")
    target.parent.mkdir(parents=True, exist_ok=True)
    put(target, body)
    return str(target)


@task(effect="transactional")
def add_publication(title: str, body: str, path: str) -> int:
    """Add the row; returns its id."""
    from holdfast.graphs.examples.models import Publication

    publication, _ = Publication.objects.using(settings().DATABASE).get_or_create(
        key=current_effect().key, defaults={"title": title[:200], "body": body, "path": path}
    )
    return int(publication.pk)


def put(target: Path, text: str) -> None:
    """The whole file or none of it, also if the machine stops in between."""
    descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=".draft-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, target)
    except BaseException:  # however it ends, no draft stays behind
        Path(draft).unlink(missing_ok=True)
        raise


def slug(title: str) -> str:
    """A title as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"['\u2019]", "", title.lower())).strip("-")[:60] or "digest"


def short(key: str) -> str:
    """A key as part of a file name."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]
