"""``holdfast demo``: the story that the README tells, with real parts, checked while it is told.

Two processes: one holds the embedded PostgreSQL (``stage``), the other, a plain user of the public API, tells the
story: enqueue ``digest``, kill -9 its worker in the middle, see the other go on, answer, publish, run again.
Nothing is staged but the pace: without a model the offline one is slowed down, so that one can watch.
"""
