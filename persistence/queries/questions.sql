-- Where a question was asked and what its task has been told since (ledger/questions.py; R7, P13).

-- name: run_questions_held
-- For the question of each id: the deepest namespace whose newest checkpoint holds it, the task that asks,
-- and the bytes of that task's answers so far (R7). A @task that asks has written the question under itself
-- and under the node that called it; the answers stand under the @task, whose path is the longer one.
WITH newest AS MATERIALIZED (
    SELECT DISTINCT ON (checkpoint_ns) checkpoint_ns, checkpoint_id FROM checkpoints
    WHERE thread_id = %(thread_id)s ORDER BY checkpoint_ns, checkpoint_id DESC
)
SELECT w.checkpoint_ns, w.checkpoint_id, w.task_id, w.type, w.blob,
    resumed.type AS resumed_type, resumed.blob AS resumed_blob
FROM newest JOIN checkpoint_writes w
    ON w.thread_id = %(thread_id)s AND w.checkpoint_ns = newest.checkpoint_ns
    AND w.checkpoint_id = newest.checkpoint_id AND w.channel = '__interrupt__'
LEFT JOIN checkpoint_writes resumed
    ON resumed.thread_id = %(thread_id)s AND resumed.checkpoint_ns = w.checkpoint_ns
    AND resumed.checkpoint_id = w.checkpoint_id AND resumed.task_id = w.task_id
    AND resumed.channel = '__resume__'
ORDER BY length(w.checkpoint_ns) - length(replace(w.checkpoint_ns, '|', '')) + (w.checkpoint_ns <> '')::int DESC,
    length(w.task_path) DESC;

-- name: run_answer_states
-- For each (namespace, checkpoint, task) that a question was asked at: whether the checkpoint is still its
-- namespace's newest, and the task's answers so far (R7).
SELECT asked.position,
    asked.checkpoint_id = (
        SELECT max(c.checkpoint_id) FROM checkpoints c
        WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = asked.checkpoint_ns
    ) AS newest,
    w.type, w.blob
FROM unnest(%(namespaces)s::text[], %(checkpoints)s::text[], %(tasks)s::text[])
    WITH ORDINALITY AS asked (checkpoint_ns, checkpoint_id, task_id, position)
LEFT JOIN checkpoint_writes w
    ON w.thread_id = %(thread_id)s AND w.checkpoint_ns = asked.checkpoint_ns
    AND w.checkpoint_id = asked.checkpoint_id AND w.task_id = asked.task_id AND w.channel = '__resume__';
