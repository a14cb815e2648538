"""What becomes of an error on the command line: one line, or a traceback if it is a bug."""

from __future__ import annotations

from holdfast.errors import HoldfastError


def explain(error: BaseException) -> str | None:
    """One line that says what, where and how to mend it; None for what is a bug and wants a traceback."""
    from django.core.exceptions import ImproperlyConfigured

    from holdfast.persistence import trouble

    if isinstance(error, HoldfastError):
        return _one_line(error.message)
    if isinstance(error, ImproperlyConfigured):
        return _one_line(f"Django's settings are not usable: {error}")
    meaning = trouble.explain(error)
    return None if meaning is None else _one_line(meaning.message)


def _one_line(text: str) -> str:
    return " ".join(text.split())
