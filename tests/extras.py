"""Packages that are extras of Holdfast: a test that needs one skips on a laptop and fails in CI without it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest


def extra(name: str) -> Any:
    """The package; to be called at the top of a module of tests."""
    try:
        return import_module(name)
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{name} is not installed", allow_module_level=True)
