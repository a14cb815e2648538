"""The way of a run, one station a file: enqueue → (dispatch) → claim → execute → settle; interrupted → resume.

``heartbeat`` keeps leases alive beside it, ``sweep`` finds what was lost.
"""
