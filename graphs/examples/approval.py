"""A person decides: the graph asks, waits as long as it takes, and goes the way of the answer.

Nothing is sent anywhere. Input: ``{"request": str, "amount": float}``; the answer is a bool, or a
dict ``{"approved": bool, "note": str}``. To anything else it asks again, saying what was unclear.
"""

from __future__ import annotations

import json
from typing import Any, Literal, Required, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from holdfast.graphs.registry import register

_YES = {"yes", "y", "true", "ok", "approve", "approved"}
_NO = {"no", "n", "false", "reject", "rejected"}


class Approval(TypedDict, total=False):
    """What is asked, what was answered, what came of it."""

    request: Required[str]
    amount: float
    approved: bool
    note: str
    outcome: str


def read_answer(answer: Any) -> tuple[bool, str]:
    """An answer as (approved, note). Raises ValueError for what is neither yes nor no."""
    given, note = answer, ""
    if isinstance(answer, dict):
        note = str(answer.get("note", ""))
        answer = answer.get("approved")
    if isinstance(answer, str):
        word = answer.strip().lower()
        if word in _YES | _NO:
            return word in _YES, note
    if isinstance(answer, bool):
        return answer, note
    shown = json.dumps(given, ensure_ascii=False, default=repr)
    raise ValueError(f'The answer {shown} is neither yes nor no; send true, false or {{"approved": true}}.')


def yes_or_no(question: dict[str, Any]) -> tuple[bool, str]:
    """Ask until the answer is a yes or a no: (approved, note).

    At each answer the node runs again from its top, and the earlier ``interrupt()`` calls return what they
    were answered.
    """
    asked = question
    while True:
        try:
            return read_answer(interrupt(asked))
        except ValueError as unclear:  # nothing broader: interrupt() leaves by an exception of its own
            asked = {**question, "unclear": str(unclear)}


def ask(state: Approval) -> dict[str, Any]:
    """Put the question."""
    question = {"question": f"Approve {state['request']!r}?", "amount": state.get("amount", 0.0)}
    approved, note = yes_or_no(question)
    return {"approved": approved, "note": note}


def decide(state: Approval) -> Literal["grant", "refuse"]:
    """The branch that the answer chose."""
    return "grant" if state["approved"] else "refuse"


def grant(state: Approval) -> dict[str, Any]:
    """What follows a yes."""
    return {"outcome": f"approved: {state['request']}"}


def refuse(state: Approval) -> dict[str, Any]:
    """What follows a no, with the reason if there is one."""
    reason = f" ({state['note']})" if state.get("note") else ""
    return {"outcome": f"refused: {state['request']}{reason}"}


@register("approval")
def approval() -> StateGraph[Approval, None, Approval, Approval]:
    """ask, then grant or refuse."""
    graph = StateGraph(Approval)
    graph.add_node(ask)
    graph.add_node(grant)
    graph.add_node(refuse)
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", decide)
    graph.add_edge("grant", END)
    graph.add_edge("refuse", END)
    return graph
