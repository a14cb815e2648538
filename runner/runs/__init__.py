"""The way of a run, one station a file: enqueue → (dispatch) → claim → execute → settle; interrupted → resume.

``attend`` takes a bell through claim, execute and settle. Beside it ``heartbeat`` keeps the leases alive, ``watch`` the
heartbeat, and ``sweep`` finds what was lost; ``process`` knows what is executed here. Around a graph that executes stand
``attempt``, ``executors`` (of ``node_pool`` and ``node_tasks``), ``loop``, ``boundary``, ``exits``, ``questions`` and
``timeline``. From outside come ``cancel`` (and retry), ``thread`` and ``wait``.
"""
