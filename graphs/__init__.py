"""Which graphs there are: pure LangGraph, neither Django nor Celery."""
