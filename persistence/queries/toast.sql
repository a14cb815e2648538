-- How large values are stored.

-- name: toast_columns
-- The columns with values of users in those of the tables that this role may alter; none where the server has no lz4.
SELECT quote_ident(c.relname), array_agg(quote_ident(a.attname) ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND c.relname = ANY (%(tables)s) AND pg_table_is_visible(c.oid)
  AND pg_has_role(c.relowner, 'USAGE')
  AND NOT a.attisdropped AND a.attnum > 0 AND a.atttypid IN ('bytea'::regtype, 'jsonb'::regtype)
  AND a.attstorage IN ('x', 'm')
  AND EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))
GROUP BY c.relname
ORDER BY c.relname;
