-- The tables of a search by meaning: upstream's migrations of store_vectors, which needs the extension vector.
-- Words in braces are constants that persistence/store/index.py knows: never a value.

-- name: vectors_lock
-- One process at a time makes the tables; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('holdfast store_vectors', 0));

-- name: vectors_extension
-- Upstream's first migration (0). Needs CREATE on the database (vector is a trusted extension), or a superuser
-- where it is not marked as trusted.
CREATE EXTENSION IF NOT EXISTS vector;

-- name: vectors_record
-- Where upstream's setup() looks for what has been done.
CREATE TABLE IF NOT EXISTS vector_migrations (v integer PRIMARY KEY);

-- name: vectors_table
-- Upstream's second migration (1).
CREATE TABLE IF NOT EXISTS store_vectors (
    prefix text NOT NULL,
    key text NOT NULL,
    field_name text NOT NULL,
    embedding {type}({dims}),
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (prefix, key, field_name),
    FOREIGN KEY (prefix, key) REFERENCES store (prefix, key) ON DELETE CASCADE
);

-- name: vectors_index
-- Upstream's third migration (2), which a flat index does without.
CREATE INDEX {concurrently} IF NOT EXISTS store_vectors_embedding_idx ON store_vectors
    USING {method} (embedding {operators}) {options};

-- name: vectors_note
-- Notes the migration of that number as done.
INSERT INTO vector_migrations (v) VALUES ({version}) ON CONFLICT DO NOTHING;
