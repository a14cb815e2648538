-- The long-term store: upstream's table store, whose prefix is the namespace, joined by dots. One statement
-- does any number of operations of one kind. Writes carry the fence where the store has one (R2): run_id and
-- token are NULL outside of a run. What has expired is left out only where the store was told to, as upstream
-- does, and is deleted by retention, never on the way of a reader. Rows are locked in the order of their
-- keys, so that two that write the same wait for each other instead of blocking each other.

-- name: store_get
-- Items by namespace and key; the position says which was asked for. Those that live for a time, and whose
-- reading is to prolong it, live on from now; never shorter than before, since ttl_minutes is rounded. One that
-- somebody else writes at the moment is left to him. A lost lease prolongs nothing, and is no error here.
WITH clock AS MATERIALIZED (
    SELECT holdfast_now() AS now
), asked AS MATERIALIZED (
    SELECT a.position, a.refresh, s.*
    FROM unnest(%(prefixes)s::text[], %(keys)s::text[], %(refresh)s::boolean[])
        WITH ORDINALITY AS a (prefix, key, refresh, position)
    JOIN store s ON s.prefix = a.prefix AND s.key = a.key
    WHERE NOT %(omit_expired)s::boolean OR s.expires_at IS NULL OR s.expires_at > (SELECT now FROM clock)
), due AS MATERIALIZED (
    SELECT DISTINCT prefix, key FROM asked WHERE refresh AND ttl_minutes IS NOT NULL
), fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running' AND EXISTS (SELECT FROM due)
    FOR KEY SHARE
), locked AS MATERIALIZED (
    SELECT s.prefix, s.key FROM due JOIN store s ON s.prefix = due.prefix AND s.key = due.key
    WHERE %(run_id)s::uuid IS NULL OR EXISTS (SELECT FROM fence)
    ORDER BY s.prefix, s.key
    FOR NO KEY UPDATE OF s SKIP LOCKED
), refreshed AS (
    UPDATE store s SET expires_at = greatest(s.expires_at, clock.now + s.ttl_minutes * interval '1 minute')
    FROM locked, clock WHERE s.prefix = locked.prefix AND s.key = locked.key
)
SELECT position, prefix, key, value::text, created_at, updated_at FROM asked;

-- name: store_search
-- Items under each of any number of namespace prefixes (an empty path: all) that meet its conditions, the
-- newest first. equal is contained in the value of every match; a condition is [key, operator, operand], and
-- compares only values of one JSON type, numbers as numbers. An encrypted value meets all, and is looked at later. A range finds what is
-- below a path, '/' being the character after '.'; it uses upstream's index, which LIKE would not here.
WITH clock AS MATERIALIZED (
    SELECT holdfast_now() AS now
), questions AS MATERIALIZED (
    SELECT q.*, q.equal::jsonb AS contained, q.conditions::jsonb AS met
    FROM unnest(%(paths)s::text[], %(equal)s::text[], %(conditions)s::text[], %(limits)s::bigint[],
                %(offsets)s::bigint[], %(refresh)s::boolean[])
        WITH ORDINALITY AS q (path, equal, conditions, most, skipped, refresh, position)
), asked AS MATERIALIZED (
    SELECT q.position, q.refresh, found.*
    FROM questions q
    CROSS JOIN LATERAL (
        SELECT s.* FROM (
            SELECT * FROM store WHERE q.path = ''
            UNION ALL
            SELECT * FROM store WHERE q.path <> ''
              AND (prefix = q.path OR (prefix ~>=~ (q.path || '.') AND prefix ~<~ (q.path || '/')))
        ) s
        WHERE (NOT %(omit_expired)s::boolean OR s.expires_at IS NULL OR s.expires_at > (SELECT now FROM clock))
          AND (jsonb_typeof(s.value -> 'holdfast_sealed') = 'string' AND s.value - 'holdfast_sealed' = jsonb_build_object()
               OR s.value @> q.contained
               AND NOT EXISTS (
                   SELECT FROM jsonb_array_elements(q.met) AS c
                   WHERE NOT coalesce(CASE c ->> 1
                       WHEN '$eq' THEN s.value -> (c ->> 0) = c -> 2
                       WHEN '$ne' THEN s.value -> (c ->> 0) <> c -> 2
                       ELSE jsonb_typeof(s.value -> (c ->> 0)) = jsonb_typeof(c -> 2) AND CASE c ->> 1
                           WHEN '$gt' THEN s.value -> (c ->> 0) > c -> 2
                           WHEN '$gte' THEN s.value -> (c ->> 0) >= c -> 2
                           WHEN '$lt' THEN s.value -> (c ->> 0) < c -> 2
                           WHEN '$lte' THEN s.value -> (c ->> 0) <= c -> 2 END END, false)))
        ORDER BY s.updated_at DESC, s.prefix, s.key
        LIMIT q.most OFFSET q.skipped
    ) found
), due AS MATERIALIZED (
    SELECT DISTINCT prefix, key FROM asked WHERE refresh AND ttl_minutes IS NOT NULL
), fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running' AND EXISTS (SELECT FROM due)
    FOR KEY SHARE
), locked AS MATERIALIZED (
    SELECT s.prefix, s.key FROM due JOIN store s ON s.prefix = due.prefix AND s.key = due.key
    WHERE %(run_id)s::uuid IS NULL OR EXISTS (SELECT FROM fence)
    ORDER BY s.prefix, s.key
    FOR NO KEY UPDATE OF s SKIP LOCKED
), refreshed AS (
    UPDATE store s SET expires_at = greatest(s.expires_at, clock.now + s.ttl_minutes * interval '1 minute')
    FROM locked, clock WHERE s.prefix = locked.prefix AND s.key = locked.key
)
SELECT position, prefix, key, value::text, created_at, updated_at, NULL::float8 FROM asked
ORDER BY position, asked.updated_at DESC, prefix, key;

-- name: store_put
-- Stores and deletes items, each with minutes to live (NULL: for ever). Returns 0 where the lease is lost:
-- nothing was written then (P2).
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), held AS MATERIALIZED (
    SELECT true FROM fence UNION ALL SELECT true WHERE %(run_id)s::uuid IS NULL
), clock AS MATERIALIZED (
    SELECT holdfast_now() AS now
), doomed AS MATERIALIZED (
    SELECT s.prefix, s.key
    FROM held, unnest(%(gone_prefixes)s::text[], %(gone_keys)s::text[]) AS g (prefix, key)
    JOIN store s ON s.prefix = g.prefix AND s.key = g.key
    ORDER BY s.prefix, s.key
    FOR UPDATE OF s
), gone AS (
    DELETE FROM store s USING doomed WHERE s.prefix = doomed.prefix AND s.key = doomed.key
), stored AS (
    INSERT INTO store (prefix, key, value, created_at, updated_at, expires_at, ttl_minutes)
    SELECT p.prefix, p.key, p.value::jsonb, clock.now, clock.now, clock.now + p.minutes * interval '1 minute',
           p.minutes
    FROM held, clock, unnest(%(prefixes)s::text[], %(keys)s::text[], %(values)s::text[], %(minutes)s::float8[])
        AS p (prefix, key, value, minutes)
    ORDER BY p.prefix, p.key
    ON CONFLICT (prefix, key) DO UPDATE
    SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at, expires_at = EXCLUDED.expires_at,
        ttl_minutes = EXCLUDED.ttl_minutes
)
SELECT count(*) FROM held;

-- name: store_namespaces
-- The namespaces that match all patterns of a question, cut off at its depth (NULL: whole), in their order;
-- of any number of questions.
SELECT q.position, found.namespace
FROM unnest(%(patterns)s::text[], %(depths)s::int[], %(limits)s::bigint[], %(offsets)s::bigint[])
    WITH ORDINALITY AS q (patterns, depth, most, skipped, position)
CROSS JOIN LATERAL (
    SELECT DISTINCT CASE WHEN q.depth IS NULL THEN s.prefix
           ELSE array_to_string((string_to_array(s.prefix, '.'))[1:q.depth], '.') END AS namespace
    FROM store s
    WHERE (NOT %(omit_expired)s::boolean OR s.expires_at IS NULL OR s.expires_at > (SELECT holdfast_now()))
      AND NOT EXISTS (SELECT FROM jsonb_array_elements_text(q.patterns::jsonb) AS p WHERE s.prefix !~ p)
    ORDER BY namespace
    LIMIT q.most OFFSET q.skipped
) found
ORDER BY q.position, found.namespace;

-- name: store_sweep
-- Deletes all that has expired.
DELETE FROM store WHERE expires_at <= (SELECT holdfast_now());

-- name: store_expiry
-- When an item expires, and by how many minutes a read prolongs that.
SELECT expires_at, ttl_minutes FROM store WHERE prefix = %(prefix)s::text AND key = %(key)s::text;

-- name: store_set_times
-- The times of an item that was copied here; of an expiry that its source did not tell, what it has stays.
UPDATE store SET created_at = %(created_at)s::timestamptz, updated_at = %(updated_at)s::timestamptz,
    expires_at = CASE WHEN %(known)s::bool THEN %(expires_at)s::timestamptz ELSE expires_at END,
    ttl_minutes = CASE WHEN %(known)s::bool THEN %(ttl_minutes)s::float8 ELSE ttl_minutes END
WHERE prefix = %(prefix)s::text AND key = %(key)s::text;

-- name: store_vectors_look
-- What there is of the search by meaning: the extension's version; the vectors' type and number of dimensions;
-- the index's method and operators; NULL each where there is none.
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
       columns.typname, columns.atttypmod, indexes.amname, indexes.opcname
FROM (SELECT 1) AS one
LEFT JOIN (
    SELECT t.typname, a.atttypmod FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass('store_vectors') AND a.attname = 'embedding'
) columns ON true
LEFT JOIN (
    SELECT m.amname, o.opcname FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    JOIN pg_opclass o ON o.oid = i.indclass[0]
    WHERE i.indexrelid = to_regclass('store_vectors_embedding_idx') AND i.indisvalid
) indexes ON true;
