"""The registered graphs, as people see them and as JSON. A graph that cannot be used says why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.text import Text

from holdfast.errors import GraphDefinitionError
from holdfast.graphs import registry
from holdfast.graphs.signature import Signature, signature
from holdfast.graphs.spec import GraphSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """One version of a graph: what it takes, or why it cannot be used."""

    spec: GraphSpec
    newest: bool
    takes: Signature | None
    problem: str = ""


def registered() -> list[Registered]:
    """Names in order, versions as they were registered: the last is what a run without ``version`` gets."""
    found = []
    for _, versions in groupby(registry.all(), lambda spec: spec.name):
        specs = list(versions)
        found += [_look(spec, newest=spec is specs[-1]) for spec in specs]
    return found


def _look(spec: GraphSpec, *, newest: bool) -> Registered:
    try:
        return Registered(spec=spec, newest=newest, takes=signature(spec.compile()))
    except GraphDefinitionError as error:
        return Registered(spec=spec, newest=newest, takes=None, problem=error.message)


def graph_facts(graph: Registered) -> dict[str, Any]:
    """For ``--json``: ``input`` has ``type`` and ``keys``, or is None with a ``problem``."""
    return {
        "name": graph.spec.name,
        "version": graph.spec.version,
        "newest": graph.newest,
        "module": graph.spec.module,
        "place": graph.spec.place,
        "input": graph.takes,
        "problem": graph.problem or None,
    }


def paragraphs(graphs: Sequence[Registered]) -> Iterator[Text]:
    """One a name: its versions and module, and what the newest takes; what is wrong with any."""
    for name, group in groupby(graphs, lambda graph: graph.spec.name):
        versions = list(group)
        newest = versions[-1]
        numbers = ", ".join(graph.spec.version for graph in versions)
        text = Text.assemble(
            (name, "bold"),
            f"  version{'s' if len(versions) > 1 else ''} {numbers}",
            (f"  {newest.spec.module}", "dim"),
        )
        if newest.takes is not None:
            text.append(f"\n  {newest.takes}")
        for graph in versions:
            if graph.problem:
                text.append(f"\n  {graph.problem}", style="bold red")
        yield text
