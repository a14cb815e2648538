-- The broker's tables. Every statement may be run again at any time: the Django migration and the
-- transport's first use (without Django) both run this file, the latter under an advisory lock.
-- Needs no extension and no superuser; every name is found through the search_path.

CREATE TABLE IF NOT EXISTS holdfast_broker_queue (
    name          text PRIMARY KEY,
    durable       boolean NOT NULL DEFAULT true,
    auto_delete   boolean NOT NULL DEFAULT false,  -- goes with its last consumer
    exclusive     boolean NOT NULL DEFAULT false,  -- goes with the session that declared it
    expires       interval,                        -- x-expires: goes when unused for that long
    message_ttl   interval,                        -- x-message-ttl: its messages go after that long
    session_pid   integer,                         -- the session that declared or consumes it,
    session_start timestamptz,                     -- kept for queues that go with one
    consumed      boolean NOT NULL DEFAULT false,
    used_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS holdfast_broker_binding (
    exchange    text NOT NULL,
    queue       text NOT NULL REFERENCES holdfast_broker_queue (name) ON DELETE CASCADE,
    routing_key text NOT NULL,
    kind        text NOT NULL,                     -- direct, topic or fanout
    pattern     text,                              -- topic: the routing key as a regular expression
    PRIMARY KEY (exchange, queue, routing_key)
);
CREATE INDEX IF NOT EXISTS holdfast_broker_binding_queue ON holdfast_broker_binding (queue);

-- A message is visible while holder_pid is NULL. Who takes it writes its session; who has done it
-- deletes it.
CREATE TABLE IF NOT EXISTS holdfast_broker_message (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    place        bigint GENERATED ALWAYS AS IDENTITY,
    queue        text NOT NULL,
    priority     smallint NOT NULL DEFAULT 0,      -- 0 to 9, the higher the sooner
    payload      text NOT NULL,                    -- kombu's message as JSON
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz,
    redelivered  boolean NOT NULL DEFAULT false,
    holder_pid   integer,
    holder_start timestamptz,                      -- NULL beside a pid: unknown, never judged gone
    taken_at     timestamptz,
    gone_at      timestamptz                       -- when the holder was first seen to be gone
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX IF NOT EXISTS holdfast_broker_message_visible
    ON holdfast_broker_message (queue, priority DESC, place) WHERE holder_pid IS NULL;
CREATE INDEX IF NOT EXISTS holdfast_broker_message_held
    ON holdfast_broker_message (holder_pid, holder_start) WHERE holder_pid IS NOT NULL;
CREATE INDEX IF NOT EXISTS holdfast_broker_message_expiring
    ON holdfast_broker_message (expires_at) WHERE expires_at IS NOT NULL;

-- UNLOGGED: a crash or a promotion of the server empties it, which is its purpose. Sessions from
-- before that time may come back, so what they held is not given away at once.
CREATE UNLOGGED TABLE IF NOT EXISTS holdfast_broker_incarnation (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The NOTIFY channel of a queue: one for each, so that nobody wakes for another's message.
CREATE OR REPLACE FUNCTION holdfast_broker_channel(queue text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT 'holdfast_broker_' || left(encode(sha256(convert_to(queue, 'UTF8')), 'hex'), 40) $$;
