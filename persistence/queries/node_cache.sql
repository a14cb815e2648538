-- The node cache: holdfast_node_cache. Values are shared by all workers; what has expired is not
-- returned, and is deleted by retention only, never on the way of a reader. An entry is found by its slot,
-- 64 bits of a digest of version, namespace and key; all 128 bits say whether it is the one (node_cache/keys.py).

-- name: cache_get
-- The values that are there and have not expired, of any number of keys.
SELECT entry.digest, entry.type, entry.value
FROM holdfast_node_cache entry
WHERE entry.slot = ANY(%(slots)s::bigint[])
  AND (entry.expires_at IS NULL OR entry.expires_at > (SELECT holdfast_now()));

-- name: cache_set
-- Stores any number of values, each with seconds to live (NULL: for ever) and the seconds that computing it
-- took (NULL: not known). In the order of the slots, so that two writers of the same keys wait for each other
-- instead of blocking each other. With a holder it ends that holder's flights, and stores only what they were for:
-- who was taken over, or whose keys were cleared meanwhile, stores nothing. Of two keys with one slot, which
-- is one in 2^64, the later takes the place of the earlier.
WITH given AS (
    SELECT p.slot, p.digest, ARRAY(SELECT jsonb_array_elements_text(p.namespace::jsonb))::text[] AS namespace,
           p.key, p.type, p.value, p.seconds, p.cost
    FROM unnest(%(slots)s::bigint[], %(digests)s::bytea[], %(namespaces)s::text[], %(keys)s::text[],
                %(types)s::text[], %(values)s::bytea[], %(seconds)s::float8[], %(costs)s::float8[])
        AS p (slot, digest, namespace, key, type, value, seconds, cost)
), landed AS (
    DELETE FROM holdfast_node_flight f USING given
    WHERE f.slot = given.slot AND f.holder = %(holder)s::uuid
    RETURNING f.slot
), stored AS (
    INSERT INTO holdfast_node_cache AS e (
        slot, digest, namespace, key, version, type, value, cost, hits, misses, saved, created_at, expires_at
    )
    SELECT given.slot, given.digest, given.namespace, given.key, %(version)s, given.type, given.value, given.cost,
           0, 1, 0, holdfast_now(), holdfast_now() + make_interval(secs => given.seconds)
    FROM given
    WHERE %(holder)s::uuid IS NULL OR given.slot IN (SELECT slot FROM landed)
    ORDER BY given.slot
    ON CONFLICT (slot) DO UPDATE
    SET digest = EXCLUDED.digest, namespace = EXCLUDED.namespace, key = EXCLUDED.key, version = EXCLUDED.version,
        type = EXCLUDED.type, value = EXCLUDED.value, cost = coalesce(EXCLUDED.cost, e.cost),
        misses = e.misses + 1, created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at
    RETURNING 1
)
SELECT count(*) FROM stored;

-- name: cache_clear
-- Deletes everything under the namespaces, of every version; without any (NULL) the whole cache. What is being
-- computed meanwhile is not stored: its flight is gone.
WITH gone AS (
    SELECT ARRAY(SELECT jsonb_array_elements_text(n::jsonb))::text[] AS namespace
    FROM unnest(%(namespaces)s::text[]) AS n
), flights AS (
    DELETE FROM holdfast_node_flight
    WHERE %(namespaces)s::text[] IS NULL OR namespace IN (SELECT namespace FROM gone)
), entries AS (
    DELETE FROM holdfast_node_cache
    WHERE %(namespaces)s::text[] IS NULL OR namespace IN (SELECT namespace FROM gone)
    RETURNING 1
)
SELECT count(*) FROM entries;

-- name: cache_count
-- Adds hits to entries, and what they have saved. It waits for nobody: what is locked at the moment is returned, to
-- be added another time; what is not there any more is forgotten.
WITH told AS (
    SELECT * FROM unnest(%(slots)s::bigint[], %(hits)s::int[]) AS t (slot, hits)
), free AS (
    SELECT e.slot FROM holdfast_node_cache e JOIN told ON told.slot = e.slot
    ORDER BY e.slot FOR NO KEY UPDATE OF e SKIP LOCKED
), counted AS (
    UPDATE holdfast_node_cache e
    SET hits = e.hits + told.hits, saved = e.saved + told.hits * coalesce(e.cost, 0), used_at = holdfast_now()
    FROM told JOIN free ON free.slot = told.slot
    WHERE e.slot = told.slot
    RETURNING e.slot
)
SELECT e.slot FROM holdfast_node_cache e JOIN told ON told.slot = e.slot
WHERE NOT EXISTS (SELECT FROM counted WHERE counted.slot = e.slot);

-- name: cache_totals
-- What the cache holds and has saved, by node and version, most saved first.
SELECT array_to_json(namespace)::text AS namespace, version, count(*) AS entries,
       count(*) FILTER (WHERE expires_at <= (SELECT holdfast_now())) AS expired,
       sum(hits)::bigint AS hits, sum(misses)::bigint AS misses, sum(saved)::float8 AS saved,
       sum(octet_length(value))::bigint AS bytes
FROM holdfast_node_cache e
GROUP BY e.namespace, version
ORDER BY sum(saved) DESC, count(*) DESC, e.namespace, version;

-- name: cache_entries
-- The entries of a node, by its name or that of its function, with or without module; most saved first.
SELECT array_to_json(e.namespace)::text AS namespace, e.version, e.key, e.cost, e.hits, e.misses, e.saved,
       octet_length(e.value) AS bytes, e.created_at, e.expires_at, e.used_at
FROM holdfast_node_cache e
WHERE EXISTS (
    SELECT FROM unnest(e.namespace) AS part
    WHERE part = %(node)s OR right(part, length(%(node)s) + 1) = '.' || %(node)s
)
ORDER BY e.saved DESC, e.hits DESC, e.id
LIMIT %(limit)s;

-- name: cache_namespaces
-- Those under which a node, named as for cache_entries, has values, or is having one computed.
SELECT DISTINCT array_to_json(known.namespace)::text AS namespace
FROM (SELECT namespace FROM holdfast_node_cache UNION ALL SELECT namespace FROM holdfast_node_flight) AS known
WHERE EXISTS (
    SELECT FROM unnest(known.namespace) AS part
    WHERE part = %(node)s OR right(part, length(%(node)s) + 1) = '.' || %(node)s
);
