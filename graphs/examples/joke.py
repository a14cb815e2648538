"""The tutorial's graph: a joke about a topic, then its explanation; each step is a checkpoint.

Killed between the two, it goes on with the explanation of the joke that was told.
"""

from __future__ import annotations

from typing import Any, Required, TypedDict

from langgraph.graph import END, START, StateGraph

from holdfast.graphs.examples.model import ask
from holdfast.graphs.registry import register


class JokeState(TypedDict, total=False):
    """A topic goes in; a joke and its explanation come out."""

    topic: Required[str]
    joke: str
    explanation: str


def generate_joke(state: JokeState) -> dict[str, Any]:
    """Tell it."""
    return {"joke": ask("Tell one short joke about the topic that you are given.", state["topic"])}


def explain_joke(state: JokeState) -> dict[str, Any]:
    """Take the fun out of it."""
    matter = f"About {state['topic']}: {state['joke']}"
    return {"explanation": ask("Explain in two sentences why this joke is funny.", matter)}


@register("joke")
def joke() -> StateGraph[JokeState, None, JokeState, JokeState]:
    """generate_joke, then explain_joke."""
    graph = StateGraph(JokeState)
    graph.add_node(generate_joke)
    graph.add_node(explain_joke)
    graph.add_edge(START, "generate_joke")
    graph.add_edge("generate_joke", "explain_joke")
    graph.add_edge("explain_joke", END)
    return graph
