"""Diagrams: an app of the stranger that happens to have the name of a room of Holdfast."""
