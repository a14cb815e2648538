"""Joins graphs and persistence: the stations of a run, its broker, its worker, its admin."""
