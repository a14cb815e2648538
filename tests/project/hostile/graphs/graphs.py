"""The graph that fulfils an order, found by Holdfast as Celery finds tasks.py."""

import time

from langgraph.graph import StateGraph
from langgraph.types import interrupt

from holdfast import register

from .state import Fulfilment


def reserve(state):
    """Writes the project's own row by the ORM."""
    from runner.models import Order

    Order.objects.filter(pk=state["order"]).update(status="reserved")
    return {"log": ["reserved"]}


def pack(state):
    """Longer than the project's task_time_limit, when asked to."""
    time.sleep(state.get("seconds", 0))  # the work
    return {"log": ["packed"]}


def approve(state):
    """Asks a person, when asked to."""
    return {"log": [f"approved by {interrupt('Send it?')}" if state.get("ask") else "approved"]}


@register("fulfil", version="7")
def fulfil():
    """reserve, pack, approve."""
    graph = StateGraph(Fulfilment)
    graph.add_sequence([reserve, pack, approve])
    graph.set_entry_point("reserve")
    return graph
