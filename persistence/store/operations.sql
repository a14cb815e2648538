-- What the store asks for, on upstream's tables store, whose prefix is the namespace, joined by dots, and
-- store_vectors, which exists only where an index is configured. One statement does any number of operations of one
-- kind. Writes carry the fence where the store has one (R2): run_id and token are NULL outside of a run. What has
-- expired is left out only where the store was told to, as upstream does, and is deleted by retention, never on the
-- way of a reader. Rows are locked in the order of their keys, so that two that write the same wait for each other
-- instead of blocking each other.
-- Words in braces are parts that stand here too, once for all that have them, and constants that
-- persistence/store/index.py knows: never a value.

-- name: store_get
-- Items by namespace and key; the position says which was asked for.
WITH clock AS MATERIALIZED (
    SELECT holdfast_now() AS now
), asked AS MATERIALIZED (
    SELECT a.position, a.refresh, s.*
    FROM unnest(%(prefixes)s::text[], %(keys)s::text[], %(refresh)s::boolean[])
        WITH ORDINALITY AS a (prefix, key, refresh, position)
    JOIN store s ON s.prefix = a.prefix AND s.key = a.key
    WHERE NOT %(omit_expired)s::boolean OR s.expires_at IS NULL OR s.expires_at > (SELECT now FROM clock)
), {prolonging}
SELECT position, prefix, key, value::text, created_at, updated_at FROM asked;

-- name: store_search
-- Items under each of any number of namespace prefixes (an empty path: all) that meet its conditions, the
-- newest first. A range finds what is below a path, '/' being the character after '.'; it uses upstream's index, which
-- LIKE would not here.
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
        WHERE {meets}
        ORDER BY s.updated_at DESC, s.prefix, s.key
        LIMIT q.most OFFSET q.skipped
    ) found
), {prolonging}
SELECT position, prefix, key, value::text, created_at, updated_at, NULL::float8 FROM asked
ORDER BY position, asked.updated_at DESC, prefix, key;

-- name: store_search_similar
-- As store_search, the nearest first, with their scores. Of an item's vectors the nearest counts; as several of
-- one item may be near, more vectors are looked at (nearest) than items are wanted. An index that is asked goes on
-- until it has found as many as meet the conditions ({tuning}).
WITH tuned AS MATERIALIZED (
    SELECT {tuning} AS done
), clock AS MATERIALIZED (
    SELECT holdfast_now() AS now
), questions AS MATERIALIZED (
    SELECT q.*, q.equal::jsonb AS contained, q.conditions::jsonb AS met, q.embedding::real[]::{type} AS target
    FROM tuned, unnest(%(paths)s::text[], %(equal)s::text[], %(conditions)s::text[], %(limits)s::bigint[],
                       %(offsets)s::bigint[], %(refresh)s::boolean[], %(nearest)s::bigint[], %(embeddings)s::text[])
        WITH ORDINALITY AS q (path, equal, conditions, most, skipped, refresh, nearest, embedding, position)
    WHERE tuned.done IS NOT NULL
), asked AS MATERIALIZED (
    SELECT q.position, q.refresh, found.*
    FROM questions q
    CROSS JOIN LATERAL (
        SELECT best.* FROM (
            SELECT DISTINCT ON (near.prefix, near.key) near.* FROM (
                SELECT s.*, v.embedding {operator} q.target AS distance
                FROM store s JOIN store_vectors v ON v.prefix = s.prefix AND v.key = s.key
                WHERE {scope}
                  AND {meets}
                ORDER BY v.embedding {operator} q.target
                LIMIT q.nearest
            ) near
            ORDER BY near.prefix, near.key, near.distance
        ) best
        ORDER BY best.distance, best.prefix, best.key
        LIMIT q.most OFFSET q.skipped
    ) found
), {prolonging}
SELECT position, prefix, key, value::text, created_at, updated_at, {score} FROM asked
ORDER BY position, distance, prefix, key;

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
){indexing}
SELECT count(*) FROM held;

-- name: meets
-- Part of a search: the item s lives, and meets the conditions of the question q. contained is so in the value of
-- every match; a condition is [key, operator, operand], and compares only values of one JSON type, numbers as
-- numbers. An encrypted value meets all, and is looked at later.
(NOT %(omit_expired)s::boolean OR s.expires_at IS NULL OR s.expires_at > (SELECT now FROM clock))
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
                 WHEN '$lte' THEN s.value -> (c ->> 0) <= c -> 2 END END, false)));

-- name: prolonging
-- Part of what reads: what was asked for and lives for a time lives on from now, where its reading is to prolong it;
-- never shorter than before, since ttl_minutes is rounded. One that somebody else writes at the moment is left to him.
-- A lost lease prolongs nothing, and is no error here.
due AS MATERIALIZED (
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
);

-- name: indexing
-- Part of store_put: the vectors of the items. Those that an item had before and has no longer are deleted.
, vectors AS MATERIALIZED (
    SELECT v.prefix, v.key, v.field_name, v.embedding
    FROM unnest(%(v_prefixes)s::text[], %(v_keys)s::text[], %(v_fields)s::text[], %(v_embeddings)s::text[])
        AS v (prefix, key, field_name, embedding)
), faded AS (
    DELETE FROM store_vectors old USING held, unnest(%(prefixes)s::text[], %(keys)s::text[]) AS p (prefix, key)
    WHERE old.prefix = p.prefix AND old.key = p.key
      AND NOT EXISTS (SELECT FROM vectors v WHERE v.prefix = old.prefix AND v.key = old.key
                      AND v.field_name = old.field_name)
), indexed AS (
    INSERT INTO store_vectors (prefix, key, field_name, embedding, created_at, updated_at)
    SELECT v.prefix, v.key, v.field_name, v.embedding::real[]::{type}, clock.now, clock.now
    FROM held, clock, vectors v
    ORDER BY v.prefix, v.key, v.field_name
    ON CONFLICT (prefix, key, field_name) DO UPDATE
    SET embedding = EXCLUDED.embedding, updated_at = EXCLUDED.updated_at
);

-- name: below_a_path
-- The scope of a search in which each question names a namespace.
(s.prefix = q.path OR (s.prefix ~>=~ (q.path || '.') AND s.prefix ~<~ (q.path || '/')));

-- name: anywhere
-- The scope of a search in which a question may be about all namespaces.
(q.path = '' OR s.prefix = q.path OR (s.prefix ~>=~ (q.path || '.') AND s.prefix ~<~ (q.path || '/')));
