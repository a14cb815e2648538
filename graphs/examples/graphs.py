"""The examples' graphs, where discovery finds them: importing a module registers what it holds."""

from __future__ import annotations

from holdfast.graphs.examples import approval, long_steps

__all__ = ["approval", "long_steps"]
