"""The examples' graphs, where discovery finds them: importing a module registers what it holds."""

from __future__ import annotations

from holdfast.graphs.examples import approval, chat, digest, joke, long_steps

__all__ = ["approval", "chat", "digest", "joke", "long_steps"]
