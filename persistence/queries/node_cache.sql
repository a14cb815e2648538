-- The node cache: holdfast_node_cache. Values are shared by all workers; what has expired is not
-- returned, and is deleted by retention only, never on the way of a reader.

-- name: cache_get
-- The values that are there and have not expired, of any number of keys. The position says of which.
SELECT wanted.position, entry.type, entry.value
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) WITH ORDINALITY AS wanted (namespace, key, position)
JOIN holdfast_node_cache entry
  ON entry.namespace = ARRAY(SELECT jsonb_array_elements_text(wanted.namespace::jsonb))::text[]
 AND entry.key = wanted.key
WHERE entry.expires_at IS NULL OR entry.expires_at > holdfast_now();

-- name: cache_set
-- Stores any number of values, each with seconds to live (NULL: for ever). In the order of the keys,
-- so that two writers of the same keys wait for each other instead of blocking each other.
INSERT INTO holdfast_node_cache AS e (namespace, key, type, value, created_at, expires_at)
SELECT ARRAY(SELECT jsonb_array_elements_text(p.namespace::jsonb))::text[], p.key, p.type, p.value,
       holdfast_now(), holdfast_now() + make_interval(secs => p.seconds)
FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(types)s::text[], %(values)s::bytea[],
            %(seconds)s::float8[]) AS p (namespace, key, type, value, seconds)
ORDER BY p.namespace, p.key
ON CONFLICT (namespace, key) DO UPDATE
SET type = EXCLUDED.type, value = EXCLUDED.value, created_at = EXCLUDED.created_at,
    expires_at = EXCLUDED.expires_at;

-- name: cache_clear
-- Deletes everything under the namespaces; without any (NULL) the whole cache.
DELETE FROM holdfast_node_cache
WHERE %(namespaces)s::text[] IS NULL
   OR namespace IN (SELECT ARRAY(SELECT jsonb_array_elements_text(n::jsonb))::text[]
                    FROM unnest(%(namespaces)s::text[]) AS n);
