-- What ``holdfast doctor --types`` looks at.

-- name: types_values
-- Every encoded value, with where it stands and the graph whose own types it may have: that of its run, or of its
-- thread's last run; none where a plain saver wrote it.
WITH last AS (
    SELECT DISTINCT ON (thread_id) thread_id, graph, version FROM holdfast_run ORDER BY thread_id, id DESC
)
SELECT 'state["' || b.channel || '"]' AS place, l.graph, l.version, b.type, b.blob
FROM checkpoint_blobs b LEFT JOIN last l USING (thread_id) WHERE b.blob IS NOT NULL
UNION ALL
SELECT 'write to ' || w.channel, l.graph, l.version, w.type, w.blob
FROM checkpoint_writes w LEFT JOIN last l USING (thread_id) WHERE w.type IS NOT NULL
UNION ALL
SELECT v.name, r.graph, r.version, v.type, v.value FROM holdfast_run r CROSS JOIN LATERAL (
    VALUES ('input', r.input_type, r.input), ('context', r.context_type, r.context),
           ('result', r.result_type, r.result), ('answers', r.answers_type, r.answers)) AS v (name, type, value)
WHERE v.value IS NOT NULL
UNION ALL
SELECT 'effect ' || e.function, r.graph, r.version, e.result_type, e.result
FROM holdfast_effect e LEFT JOIN holdfast_run r ON r.id = e.run_id WHERE e.result IS NOT NULL
UNION ALL
SELECT 'node cache', NULL, NULL, type, value FROM holdfast_node_cache;
