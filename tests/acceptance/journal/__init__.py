"""A Django app whose only content is graphs.py, for discovery to find."""
