"""``python -m bench`` (``make bench``): what Holdfast costs, measured in one run on this machine.

It makes databases of its own, starts real workers, measures, prints one table and removes what it made.
It judges nothing: a number beside its target is for people, and a slow machine is no failure.
"""
