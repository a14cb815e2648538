"""What an error's docstring names as its facts, whoever raises it gives: programs read them as attributes."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from holdfast import errors

ROOT = Path(__file__).resolve().parents[2]


def promised(kind: type[errors.HoldfastError]) -> set[str]:
    docs = [
        inspect.cleandoc(each.__doc__ or "") for each in kind.__mro__ if each.__module__ == errors.__name__
    ]
    facts = [found for doc in docs for found in re.findall(r"Facts: (.*)", doc)]
    return {name for line in facts for name in re.findall(r"``(\w+)``", line)}


def test_every_fact_that_an_error_promises_is_given() -> None:
    kinds = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    lacking = []
    for room in ("holdfast", "graphs", "persistence", "runner"):
        for file in (ROOT / room).rglob("*.py"):
            for call in ast.walk(ast.parse(file.read_text("utf-8"))):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                    continue
                given = {keyword.arg for keyword in call.keywords}
                kind = kinds.get(call.func.id)
                if kind is None or None in given:  # None: **facts of another error
                    continue
                if missing := promised(kind) - given:
                    lacking.append(f"{file.relative_to(ROOT)}:{call.lineno}: {call.func.id} lacks {missing}")
    assert lacking == []
