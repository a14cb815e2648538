-- The long-term store, beside what persistence/store/operations.sql asks for.

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
