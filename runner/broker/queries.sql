-- Every statement of the broker. Parameters are psycopg's; the tables are in schema.sql.

-- name: whoami
-- This session as pg_stat_activity knows it, whether the tables are there, and whether nothing can be written: in the
-- middle of a failover, an address may still lead to a standby.
SELECT a.pid, a.backend_start, to_regclass('holdfast_broker_message') IS NOT NULL,
       current_setting('transaction_read_only') = 'on'
  FROM pg_stat_activity AS a WHERE a.pid = pg_backend_pid();

-- name: settle_in
-- Of a session that nobody else uses. It runs nothing but the statements below, each of which has its
-- index: with a table that grows from nothing to 30,000 rows before it is analysed, the planner would sort
-- them all for each message (seen). And each is planned once: planning a take anew takes longer than the
-- take.
SELECT set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false),
       set_config('jit', 'off', false), set_config('plan_cache_mode', 'force_generic_plan', false);

-- name: lock_schema
SELECT pg_advisory_xact_lock(hashtext('holdfast_broker_schema'));

-- name: channel
SELECT holdfast_broker_channel(%(queue)s);

-- name: publish
-- Messages, as a list of JSON objects: one copy of each for every queue that is bound to its exchange by
-- its routing key, and for those that the caller names itself; in the order of the list. Wakes their
-- consumers once the transaction commits.
WITH message AS MATERIALIZED (
    SELECT given.*, row_number() OVER () AS number
      FROM json_to_recordset(%(messages)s::json) AS given
           (exchange text, routing_key text, queues text[], priority smallint, payload text, ttl double precision)
), target AS (
    SELECT m.number, b.queue
      FROM message AS m JOIN holdfast_broker_binding AS b ON b.exchange = m.exchange
       AND CASE b.kind WHEN 'fanout' THEN true
                       WHEN 'topic' THEN m.routing_key ~ b.pattern
                       ELSE b.routing_key = m.routing_key END
    UNION
    SELECT m.number, unnest(m.queues) FROM message AS m
), put AS (
    INSERT INTO holdfast_broker_message (queue, priority, payload, expires_at)
    SELECT t.queue, m.priority, m.payload,
           clock_timestamp() + least(q.message_ttl, m.ttl * interval '1 second')
      FROM target AS t JOIN message AS m USING (number)
      LEFT JOIN holdfast_broker_queue AS q ON q.name = t.queue
     ORDER BY m.number
    RETURNING queue
)
SELECT count(pg_notify(holdfast_broker_channel(put.queue), '')) FROM (SELECT DISTINCT queue FROM put) AS put;

-- name: take
-- The next messages of all the queues, by priority, then each queue in its turn, and this session
-- as their holder. The last column tells of candidates that another consumer was quicker at.
-- A lost commit only makes the message visible again, so this one is not waited for. It is planned once,
-- maybe on an empty table, and must be as quick with a backlog: the form of its parts leaves the planner no
-- way but by id (a join of candidates and messages read the whole backlog for each take: seen, 8 ms of
-- 30,000), and coalesce keeps it off the index of the visible.
WITH relaxed AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
), candidate AS MATERIALIZED (
    SELECT c.id, c.priority, row_number() OVER (PARTITION BY q.turn ORDER BY c.priority DESC, c.place) AS rank,
           q.turn, c.place
      FROM relaxed, unnest(%(queues)s::text[]) WITH ORDINALITY AS q (name, turn)
     CROSS JOIN LATERAL (
        SELECT m.id, m.priority, m.place FROM holdfast_broker_message AS m
         WHERE m.queue = q.name AND m.holder_pid IS NULL
           AND (m.expires_at IS NULL OR m.expires_at > clock_timestamp())
         ORDER BY m.priority DESC, m.place LIMIT %(limit)s + 8) AS c
), mine AS MATERIALIZED (
    SELECT locked.id, c.priority, c.rank, c.turn
      FROM (SELECT * FROM candidate ORDER BY priority DESC, rank, turn) AS c
     CROSS JOIN LATERAL (
        SELECT m.id FROM holdfast_broker_message AS m
         WHERE m.id = c.id AND coalesce(m.holder_pid, 0) = 0
           FOR UPDATE SKIP LOCKED) AS locked
     LIMIT %(limit)s
), taken AS (
    UPDATE holdfast_broker_message AS m
       SET holder_pid = %(pid)s, holder_start = %(start)s, taken_at = clock_timestamp(), gone_at = NULL
     WHERE m.id = ANY(ARRAY(SELECT id FROM mine))
    RETURNING m.id, m.queue, m.payload, m.redelivered
)
SELECT t.id, t.queue, t.payload, t.redelivered, (SELECT count(*) FROM candidate)
  FROM (SELECT) AS one LEFT JOIN (taken AS t JOIN mine USING (id)) ON true
 ORDER BY mine.priority DESC, mine.rank, mine.turn;

-- name: take_and_delete
-- The same for consumers that do not acknowledge.
WITH relaxed AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
), candidate AS MATERIALIZED (
    SELECT c.id, c.priority, row_number() OVER (PARTITION BY q.turn ORDER BY c.priority DESC, c.place) AS rank,
           q.turn, c.place
      FROM relaxed, unnest(%(queues)s::text[]) WITH ORDINALITY AS q (name, turn)
     CROSS JOIN LATERAL (
        SELECT m.id, m.priority, m.place FROM holdfast_broker_message AS m
         WHERE m.queue = q.name AND m.holder_pid IS NULL
           AND (m.expires_at IS NULL OR m.expires_at > clock_timestamp())
         ORDER BY m.priority DESC, m.place LIMIT %(limit)s + 8) AS c
), mine AS MATERIALIZED (
    SELECT locked.id, c.priority, c.rank, c.turn
      FROM (SELECT * FROM candidate ORDER BY priority DESC, rank, turn) AS c
     CROSS JOIN LATERAL (
        SELECT m.id FROM holdfast_broker_message AS m
         WHERE m.id = c.id AND coalesce(m.holder_pid, 0) = 0
           FOR UPDATE SKIP LOCKED) AS locked
     LIMIT %(limit)s
), taken AS (
    DELETE FROM holdfast_broker_message AS m WHERE m.id = ANY(ARRAY(SELECT id FROM mine))
    RETURNING m.id, m.queue, m.payload, m.redelivered
)
SELECT t.id, t.queue, t.payload, t.redelivered, (SELECT count(*) FROM candidate)
  FROM (SELECT) AS one LEFT JOIN (taken AS t JOIN mine USING (id)) ON true
 ORDER BY mine.priority DESC, mine.rank, mine.turn;

-- name: acknowledge
-- By id alone: the work is done, whoever holds the message by now. A lost commit only makes it
-- visible again.
WITH relaxed AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
DELETE FROM holdfast_broker_message USING relaxed WHERE id = ANY(%(ids)s::uuid[]);

-- name: release
-- Make messages that these sessions hold visible again.
WITH freed AS (
    UPDATE holdfast_broker_message
       SET holder_pid = NULL, holder_start = NULL, taken_at = NULL, gone_at = NULL, redelivered = true
     WHERE id = ANY(%(ids)s::uuid[])
       AND (holder_pid, holder_start) IN (SELECT * FROM unnest(%(pids)s::integer[], %(starts)s::timestamptz[]))
    RETURNING queue
)
SELECT count(pg_notify(holdfast_broker_channel(freed.queue), ''))
  FROM (SELECT DISTINCT queue FROM freed) AS freed;

-- name: mark
-- The first consumer after a crash notes when the server's present incarnation began, at the latest.
INSERT INTO holdfast_broker_incarnation (one)
SELECT true WHERE NOT EXISTS (SELECT FROM holdfast_broker_incarnation)
ON CONFLICT DO NOTHING;

-- name: reassert
-- A process that comes back with a new session: what it still works on is its own again, also if
-- it has been made visible meanwhile; what else its old sessions held is visible at once.
WITH kept AS (
    UPDATE holdfast_broker_message
       SET holder_pid = %(pid)s, holder_start = %(start)s, taken_at = clock_timestamp(), gone_at = NULL
     WHERE id = ANY(%(kept)s::uuid[])
       AND (holder_pid IS NULL
            OR (holder_pid, holder_start) IN (SELECT * FROM unnest(%(old_pids)s::integer[], %(old_starts)s::timestamptz[])))
), freed AS (
    UPDATE holdfast_broker_message
       SET holder_pid = NULL, holder_start = NULL, taken_at = NULL, gone_at = NULL, redelivered = true
     WHERE (holder_pid, holder_start) IN (SELECT * FROM unnest(%(old_pids)s::integer[], %(old_starts)s::timestamptz[]))
       AND NOT id = ANY(%(kept)s::uuid[])
    RETURNING queue
)
SELECT count(pg_notify(holdfast_broker_channel(freed.queue), ''))
  FROM (SELECT DISTINCT queue FROM freed) AS freed;

-- name: declare_queue
-- A queue that is there already keeps its arguments; one that goes with a session goes with the
-- newest that declared it.
INSERT INTO holdfast_broker_queue AS q
       (name, durable, auto_delete, exclusive, expires, message_ttl, session_pid, session_start)
VALUES (%(queue)s, %(durable)s, %(auto_delete)s, %(exclusive)s,
        %(expires)s::double precision * interval '1 millisecond',
        %(message_ttl)s::double precision * interval '1 millisecond', %(pid)s, %(start)s)
ON CONFLICT (name) DO UPDATE
   SET used_at = clock_timestamp(),
       session_pid = coalesce(excluded.session_pid, q.session_pid),
       session_start = CASE WHEN excluded.session_pid IS NULL THEN q.session_start ELSE excluded.session_start END
 WHERE q.auto_delete OR q.exclusive OR q.expires IS NOT NULL;

-- name: has_queue
SELECT EXISTS (SELECT FROM holdfast_broker_queue WHERE name = %(queue)s);

-- name: bind
INSERT INTO holdfast_broker_binding (exchange, queue, routing_key, kind, pattern)
VALUES (%(exchange)s, %(queue)s, %(routing_key)s, %(kind)s, %(pattern)s)
ON CONFLICT (exchange, queue, routing_key) DO UPDATE SET kind = excluded.kind, pattern = excluded.pattern
 WHERE (holdfast_broker_binding.kind, holdfast_broker_binding.pattern)
       IS DISTINCT FROM (excluded.kind, excluded.pattern);

-- name: unbind
DELETE FROM holdfast_broker_binding
 WHERE exchange = %(exchange)s AND queue = %(queue)s AND routing_key = %(routing_key)s;

-- name: bindings
SELECT queue, exchange, routing_key FROM holdfast_broker_binding ORDER BY exchange, queue, routing_key;

-- name: consume_queue
-- A consumer begins.
UPDATE holdfast_broker_queue
   SET consumed = true, used_at = clock_timestamp(), session_pid = %(pid)s, session_start = %(start)s
 WHERE name = %(queue)s AND (auto_delete OR exclusive OR expires IS NOT NULL);

-- name: leave_queue
-- A consumer ends; an auto-delete queue goes with it.
WITH gone AS (
    DELETE FROM holdfast_broker_queue
     WHERE name = %(queue)s AND auto_delete AND session_pid = %(pid)s AND session_start = %(start)s
    RETURNING name
), emptied AS (
    DELETE FROM holdfast_broker_message WHERE queue IN (SELECT name FROM gone)
)
UPDATE holdfast_broker_queue SET consumed = false, used_at = clock_timestamp()
 WHERE name = %(queue)s AND NOT auto_delete AND expires IS NOT NULL
   AND session_pid = %(pid)s AND session_start = %(start)s;

-- name: delete_queue
WITH gone AS (DELETE FROM holdfast_broker_queue WHERE name = %(queue)s)
DELETE FROM holdfast_broker_message WHERE queue = %(queue)s;

-- name: purge
-- What is not being worked on.
DELETE FROM holdfast_broker_message WHERE queue = %(queue)s AND holder_pid IS NULL;

-- name: size
SELECT count(*) FROM holdfast_broker_message
 WHERE queue = %(queue)s AND holder_pid IS NULL
   AND (expires_at IS NULL OR expires_at > clock_timestamp());

-- name: sweep
-- Under a lock that nobody waits for: messages whose holder is gone become visible again, a second
-- after that was first seen, or after a longer grace if the holder's session is from before the
-- server's present incarnation, since it may come back; what has expired goes, and queues go with
-- the session that they belong to. Messages of a queue that nobody declared go after a day.
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('holdfast_broker_sweep')) AS mine
), incarnation AS MATERIALIZED (
    SELECT greatest(pg_postmaster_start_time(),
                    coalesce((SELECT since FROM holdfast_broker_incarnation), clock_timestamp())) AS since
), session AS MATERIALIZED (
    SELECT pid, backend_start FROM pg_stat_activity, turn WHERE mine
), lost AS MATERIALIZED (
    SELECT m.id, m.gone_at, m.taken_at FROM holdfast_broker_message AS m, turn
     WHERE turn.mine AND m.holder_pid IS NOT NULL AND m.holder_start IS NOT NULL
       AND NOT EXISTS (SELECT FROM session AS s WHERE s.pid = m.holder_pid
                          AND (s.backend_start = m.holder_start OR s.backend_start IS NULL))
       FOR UPDATE OF m SKIP LOCKED
), seen AS (
    UPDATE holdfast_broker_message AS m SET gone_at = clock_timestamp()
      FROM lost WHERE m.id = lost.id AND lost.gone_at IS NULL
), freed AS (
    UPDATE holdfast_broker_message AS m
       SET holder_pid = NULL, holder_start = NULL, taken_at = NULL, gone_at = NULL, redelivered = true
      FROM lost, incarnation
     WHERE m.id = lost.id
       AND lost.gone_at + CASE WHEN lost.taken_at >= incarnation.since THEN interval '1 second'
                               ELSE %(grace)s::double precision * interval '1 second' END <= clock_timestamp()
    RETURNING m.queue
), abandoned AS (
    DELETE FROM holdfast_broker_queue AS q USING turn
     WHERE turn.mine
       AND (((q.auto_delete OR q.exclusive) AND q.session_start IS NOT NULL
             AND NOT EXISTS (SELECT FROM session AS s WHERE s.pid = q.session_pid
                                AND (s.backend_start = q.session_start OR s.backend_start IS NULL)))
            OR ((q.auto_delete OR q.exclusive) AND q.session_start IS NULL
                AND q.used_at < clock_timestamp() - interval '1 hour')
            OR (q.expires IS NOT NULL AND q.used_at + q.expires < clock_timestamp()
                AND (NOT q.consumed
                     OR NOT EXISTS (SELECT FROM session AS s WHERE s.pid = q.session_pid
                                       AND (s.backend_start = q.session_start OR s.backend_start IS NULL)))))
    RETURNING q.name
), emptied AS (
    DELETE FROM holdfast_broker_message WHERE queue IN (SELECT name FROM abandoned)
), expired AS (
    DELETE FROM holdfast_broker_message AS m USING turn
     WHERE turn.mine AND m.expires_at < clock_timestamp()
)
SELECT count(pg_notify(holdfast_broker_channel(freed.queue), ''))
  FROM (SELECT DISTINCT queue FROM freed) AS freed;

-- name: sweep_undeclared
-- Once in a while: what was sent to a queue that nobody declares, e.g. the result of a caller that
-- has gone, is kept for a day.
DELETE FROM holdfast_broker_message AS m
 WHERE m.holder_pid IS NULL AND m.created_at < clock_timestamp() - interval '1 day'
   AND NOT EXISTS (SELECT FROM holdfast_broker_queue AS q WHERE q.name = m.queue);
