"""A conversation: each run adds one turn to its thread, and the thread remembers all of them."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import SystemMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from holdfast.graphs.examples.model import chat_model
from holdfast.graphs.registry import register

INSTRUCTION = (
    "You talk with a person. Answer briefly, and from what was said in this conversation where you can."
)


def respond(state: MessagesState) -> dict[str, Any]:
    """One answer to all that was said so far."""
    return {"messages": [chat_model().invoke([SystemMessage(INSTRUCTION), *state["messages"]])]}


@register("chat")
def chat() -> StateGraph[MessagesState, None, MessagesState, MessagesState]:
    """One node; the reducer of ``messages`` keeps the turns. Input: ``{"messages": "Hello"}``."""
    graph = StateGraph(MessagesState)
    graph.add_node(respond)
    graph.add_edge(START, "respond")
    graph.add_edge("respond", END)
    return graph
