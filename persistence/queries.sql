-- Holdfast's statements that the ORM cannot say, by name. A heading names the statement; the comment
-- under it says what it does and which rule of a run's protocol it keeps. Parameters are %(name)s.
-- Statements that change a run demand, in their WHERE, the state that they lead out of: no row
-- returned means that somebody else was first.

-- ═══ runs: written by the ledger only ══════════════════════════════════════════════════════════════

-- name: run_lock_thread
-- Serialises enqueues whose strategy looks at the thread's other runs.
SELECT id FROM holdfast_thread WHERE id = %(thread_id)s FOR NO KEY UPDATE;

-- name: run_insert
-- Makes the thread if it is new, holds it against retention (R20), and inserts the run. No row: the
-- idempotency key is taken, the strategy refuses, or retention has just deleted the thread. What it
-- returns is what the caller does not know.
WITH made AS (
    INSERT INTO holdfast_thread (id, created_at) VALUES (%(thread_id)s::text, holdfast_now())
    ON CONFLICT DO NOTHING RETURNING id
), held AS (
    SELECT id FROM holdfast_thread WHERE id = %(thread_id)s::text FOR KEY SHARE
), moment AS MATERIALIZED (
    SELECT holdfast_now() AS now
), due AS MATERIALIZED (
    SELECT now, coalesce(%(due_at)s::timestamptz, now + make_interval(secs => %(delay)s)) AS at FROM moment
)
INSERT INTO holdfast_run (
    id, thread_id, graph, version, status, input_type, input, context_type, context, config, metadata,
    priority, queue, multitask_strategy, idempotency_key, request_hash, not_before, deadline, created_at,
    rung_at, rings, bell_at, holds_thread, deliveries, crashes, max_crashes, draining
)
SELECT
    %(id)s, %(thread_id)s::text, %(graph)s, %(version)s, 'queued', %(input_type)s, %(input)s, %(context_type)s,
    %(context)s, %(config)s, %(metadata)s, %(priority)s, %(queue)s, %(multitask_strategy)s::text,
    %(idempotency_key)s, %(request_hash)s, due.at,
    coalesce(%(deadline_at)s::timestamptz, due.now + make_interval(secs => %(deadline_delay)s)), due.now,
    CASE WHEN due.at <= due.now THEN due.now END, CASE WHEN due.at <= due.now THEN 1 ELSE 0 END,
    CASE WHEN due.at <= due.now THEN due.now + make_interval(secs => %(busy_seconds)s) ELSE due.at END,
    false, 0, 0, %(max_crashes)s, false
FROM due
WHERE (EXISTS (SELECT FROM made) OR EXISTS (SELECT FROM held))
    AND (%(multitask_strategy)s::text <> 'reject' OR NOT EXISTS (
        SELECT FROM holdfast_run o
        WHERE o.thread_id = %(thread_id)s::text AND o.status IN ('queued', 'running', 'interrupted')
    ))
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id, created_at, not_before, deadline;

-- name: run_insert_many
-- The same for any number of runs of the strategy `enqueue`, given as a list of JSON objects; bytes stand
-- in them as bytea's text. Threads are locked before runs and in one order everywhere (R20), and so are
-- the idempotency keys. Missing from its rows are the runs whose key is taken, by an earlier one of the
-- list too, and those whose thread retention has just deleted. (For one run it takes twice as long to plan
-- as the statement for one.)
WITH given AS MATERIALIZED (
    SELECT run.*, row_number() OVER () AS place
    FROM json_to_recordset(%(runs)s::json) AS run (
        id uuid, thread_id text, graph text, version text, input_type text, input bytea, context_type text,
        context bytea, config jsonb, metadata jsonb, priority smallint, queue text, multitask_strategy text,
        idempotency_key text, request_hash text, delay double precision, due_at timestamptz,
        deadline_delay double precision, deadline_at timestamptz, max_crashes smallint
    )
), made AS (
    INSERT INTO holdfast_thread (id, created_at)
    SELECT thread_id, holdfast_now() FROM (SELECT DISTINCT thread_id FROM given ORDER BY thread_id) AS wanted
    ON CONFLICT DO NOTHING RETURNING id
), held AS MATERIALIZED (
    SELECT id FROM holdfast_thread WHERE id IN (SELECT thread_id FROM given) ORDER BY id FOR KEY SHARE
), moment AS MATERIALIZED (
    SELECT holdfast_now() AS now
), due AS MATERIALIZED (
    SELECT given.*, moment.now, coalesce(given.due_at, moment.now + make_interval(secs => given.delay)) AS at
    FROM given CROSS JOIN moment
    WHERE given.thread_id IN (SELECT id FROM made UNION ALL SELECT id FROM held)
)
INSERT INTO holdfast_run (
    id, thread_id, graph, version, status, input_type, input, context_type, context, config, metadata,
    priority, queue, multitask_strategy, idempotency_key, request_hash, not_before, deadline, created_at,
    rung_at, rings, bell_at, holds_thread, deliveries, crashes, max_crashes, draining
)
SELECT
    id, thread_id, graph, version, 'queued', input_type, input, context_type, context, config, metadata,
    priority, queue, multitask_strategy, idempotency_key, request_hash, at,
    coalesce(deadline_at, now + make_interval(secs => deadline_delay)), now,
    CASE WHEN at <= now THEN now END, CASE WHEN at <= now THEN 1 ELSE 0 END,
    CASE WHEN at <= now THEN now + make_interval(secs => %(busy_seconds)s) ELSE at END,
    false, 0, 0, max_crashes, false
FROM due
ORDER BY idempotency_key, place
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id, created_at, not_before, deadline;

-- name: run_of_keys
-- The runs that idempotency keys have made.
SELECT * FROM holdfast_run WHERE idempotency_key = ANY(%(keys)s::text[]);

-- name: run_unmake_threads
-- Threads that an insert made for runs whose key then turned out to be taken; nobody knows them.
DELETE FROM holdfast_thread t
WHERE t.id = ANY(%(thread_ids)s::text[])
    AND NOT EXISTS (SELECT FROM holdfast_run r WHERE r.thread_id = t.id)
    AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = t.id);

-- name: run_get
SELECT id, graph, version, thread_id, status, queue, priority, metadata, idempotency_key, created_at, not_before,
    deadline, started_at, finished_at, deliveries, crashes, owner, error, questions, input_type, input,
    result_type, result
FROM holdfast_run WHERE id = %(id)s;

-- name: run_glance
-- Whether a run is worth reading again, for who waits for it.
SELECT status, deliveries FROM holdfast_run WHERE id = %(id)s;

-- name: run_displace
-- Asks every unfinished run of the thread but the new one to end (strategies interrupt and rollback).
INSERT INTO holdfast_cancel_request (run_id, rollback, reason, requested_at)
SELECT id, %(rollback)s, 'displaced by run ' || (%(id)s::uuid)::text, holdfast_now()
FROM holdfast_run
WHERE thread_id = %(thread_id)s::text AND id <> %(id)s::uuid AND status IN ('queued', 'running', 'interrupted')
ON CONFLICT (run_id) DO UPDATE SET rollback = holdfast_cancel_request.rollback OR excluded.rollback;

-- name: run_claim
-- Takes a run that is due, whose thread is its own or free, and that is the thread's oldest due one
-- (R4). Accepts its own token again, for a claim whose commit got no answer (R3). A run that died twice
-- where it stands is given only to a process that executes nothing else (R12). Two claims of one
-- thread's runs at once: the partial unique index refuses the second. It waits for no lock longer than
-- lock_timeout, which the first part sets for this transaction before the others lock anything (R11).
-- While it waited for a lock another attempt may have come and gone: the number of deliveries shows it,
-- and `entered`, which is as old as the statement, would be wrong then. Its commit does not wait for the
-- disk: a crash of the server that loses a claim leaves the run queued, and refuses what the claimer writes.
WITH limits AS MATERIALIZED (
    SELECT set_config('lock_timeout', %(lock_timeout)s, true), set_config('synchronous_commit', 'off', true)
), thread AS MATERIALIZED (
    SELECT t.id, seen.deliveries
    FROM limits, holdfast_thread t
    JOIN holdfast_run seen ON seen.thread_id = t.id
    WHERE seen.id = %(id)s FOR KEY SHARE OF t
)
UPDATE holdfast_run r SET
    status = 'running', token = %(token)s, owner = %(owner)s, draining = false, holds_thread = true,
    renewed_at = holdfast_now(), session_pid = %(session_pid)s, session_start = %(session_start)s,
    deliveries = CASE WHEN r.token = %(token)s THEN r.deliveries ELSE r.deliveries + 1 END,
    started_at = coalesce(r.started_at, holdfast_now()), rings = 0
FROM thread
WHERE r.id = %(id)s AND r.thread_id = thread.id AND (
    (r.status = 'running' AND r.token = %(token)s)
    OR (
        r.status = 'queued' AND r.deliveries = thread.deliveries AND r.not_before <= holdfast_now()
        AND (r.deadline IS NULL OR r.deadline > holdfast_now())
        AND (r.crashes < 2 OR %(alone)s)
        AND r.graph || '@' || r.version = ANY(%(known)s)
        AND NOT EXISTS (SELECT FROM holdfast_cancel_request c WHERE c.run_id = r.id)
        AND (r.holds_thread OR NOT EXISTS (
            SELECT FROM holdfast_run o
            WHERE o.thread_id = r.thread_id AND o.id <> r.id AND (
                o.holds_thread
                OR (o.status = 'queued' AND o.not_before <= holdfast_now()
                    AND (o.created_at, o.id) < (r.created_at, r.id))
            )
        ))
    )
)
RETURNING r.*, EXISTS (SELECT FROM holdfast_entry e WHERE e.run_id = r.id) AS entered;

-- name: run_wants_solitude
-- Whether the run could be claimed but for R12.
SELECT crashes >= 2 AS alone FROM holdfast_run WHERE id = %(id)s AND status = 'queued';

-- name: run_pass_on
-- Stamps the bell of a run that was kept waiting in a process without room (R12, R15). No row: somebody
-- has rung meanwhile, so that of two bells for one run only one goes round.
UPDATE holdfast_run SET rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
WHERE id = %(id)s AND status = 'queued' AND rung_at < holdfast_now() - make_interval(secs => %(seconds)s)
RETURNING *;

-- name: run_renew
-- One beat for all leases of a process (R8): rewrites the session, passes over rows that are being
-- settled, and brings along what people have asked for meanwhile (R14). The token does not change, so
-- it never waits for a writer (R2).
WITH mine AS (
    SELECT r.id FROM holdfast_run r
    JOIN unnest(%(ids)s::uuid[], %(tokens)s::uuid[]) AS lease (id, token)
        ON r.id = lease.id AND r.token = lease.token
    WHERE r.status = 'running'
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE holdfast_run r SET
    renewed_at = holdfast_now(), session_pid = %(session_pid)s, session_start = %(session_start)s,
    draining = %(draining)s
FROM mine WHERE r.id = mine.id
RETURNING r.id,
    (SELECT c.rollback FROM holdfast_cancel_request c WHERE c.run_id = r.id) AS rollback;

-- name: run_still_mine
-- Which of the leases that a beat passed over are still ours.
SELECT r.id FROM holdfast_run r
JOIN unnest(%(ids)s::uuid[], %(tokens)s::uuid[]) AS lease (id, token)
    ON r.id = lease.id AND r.token = lease.token
WHERE r.status = 'running';

-- name: run_settle
-- Ends the attempt: the token goes (R1), what it was is kept for unknown commits (R3). The last lines of
-- the timeline are written with it, or not at all (P2).
WITH settled AS (
    UPDATE holdfast_run SET
        status = %(status)s, token = NULL, settled_by = token, owner = NULL, draining = false,
        holds_thread = NOT %(ended)s, finished_at = CASE WHEN %(ended)s THEN holdfast_now() END,
        result_type = %(result_type)s, result = %(result)s, error = %(error)s, questions = %(questions)s,
        answers_type = NULL, answers = NULL
    WHERE id = %(id)s AND token = %(token)s AND status = 'running'
    RETURNING *
), written AS (
    INSERT INTO holdfast_step (
        run_id, delivery, step, node, task_id, namespace, owner, started_at, finished_at, outcome
    )
    SELECT settled.id, %(delivery)s, line.step, line.node, line.task_id, line.namespace, %(owner)s,
        line.started_at, line.finished_at, line.outcome
    FROM settled, unnest(
        %(steps)s::int[], %(nodes)s::text[], %(task_ids)s::text[], %(namespaces)s::text[],
        %(started)s::timestamptz[], %(finished)s::timestamptz[], %(outcomes)s::text[]
    ) AS line (step, node, task_id, namespace, started_at, finished_at, outcome)
    ON CONFLICT (run_id, delivery, task_id)
    DO UPDATE SET finished_at = excluded.finished_at, outcome = excluded.outcome
), request AS (
    DELETE FROM holdfast_cancel_request c USING settled WHERE c.run_id = settled.id AND %(ended)s
)
SELECT * FROM settled;

-- name: run_hand_over
-- Gives the run back between two steps (R13); no crash.
UPDATE holdfast_run SET
    status = 'queued', token = NULL, settled_by = token, owner = NULL, draining = false,
    rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
WHERE id = %(id)s AND token = %(token)s AND status = 'running'
RETURNING *;

-- name: run_settled_by
-- Whether a settle or hand-over whose commit got no answer happened (R3).
SELECT * FROM holdfast_run WHERE id = %(id)s AND settled_by = %(token)s AND token IS DISTINCT FROM %(token)s;

-- name: run_next_of_thread
-- The run that a freed thread is claimable for (R4), stamped for its bell (R15).
UPDATE holdfast_run SET rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
WHERE id = (
    SELECT id FROM holdfast_run
    WHERE thread_id = %(thread_id)s AND status = 'queued' AND not_before <= holdfast_now()
    ORDER BY holds_thread DESC, created_at, id LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
) AND status = 'queued' AND NOT EXISTS (
    SELECT FROM holdfast_run o WHERE o.thread_id = %(thread_id)s AND o.holds_thread AND o.id <> holdfast_run.id
)
RETURNING *;

-- name: run_answer
-- Records the answers and queues the run (P13), if it still asks just what it asked when they were given.
WITH thread AS MATERIALIZED (
    SELECT id FROM holdfast_thread
    WHERE id = (SELECT thread_id FROM holdfast_run WHERE id = %(id)s) FOR KEY SHARE
)
UPDATE holdfast_run r SET
    status = 'queued', answers_type = %(answers_type)s, answers = %(answers)s,
    not_before = holdfast_now(), rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
FROM thread
WHERE r.id = %(id)s AND r.thread_id = thread.id AND r.status = 'interrupted'
    AND r.questions = %(questions)s
RETURNING r.*;

-- name: run_requeue_updated
-- Queues an interrupted run after its thread's state was written, without questions or answers: those
-- that were open belong to a checkpoint that is no longer the newest (R5). The caller holds the thread.
UPDATE holdfast_run SET
    status = 'queued', questions = NULL, answers_type = NULL, answers = NULL,
    not_before = holdfast_now(), rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
WHERE id = %(id)s AND status = 'interrupted' AND questions = %(questions)s
RETURNING *;

-- name: run_retry
-- Queues an ended run again. Refused once a later run has entered its thread, its own checkpoints are gone
-- (R5), or it was rolled back after effects, which would happen again under new keys (P4). One that has entered holds its thread from now on, so that nobody enters before it goes on;
-- the unique index refuses that while another holds it.
WITH thread AS MATERIALIZED (
    SELECT id FROM holdfast_thread
    WHERE id = (SELECT thread_id FROM holdfast_run WHERE id = %(id)s) FOR KEY SHARE
), retried AS (
    UPDATE holdfast_run r SET
        status = 'queued', finished_at = NULL, error = NULL, questions = NULL, answers_type = NULL,
        answers = NULL, crashes = 0, crash_marker = NULL, deadline = NULL, not_before = holdfast_now(),
        holds_thread = EXISTS (SELECT FROM holdfast_entry mine WHERE mine.run_id = r.id),
        rung_at = holdfast_now(), rings = 1,
        bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
    FROM thread
    WHERE r.id = %(id)s AND r.thread_id = thread.id AND r.status IN ('failed', 'cancelled')
        AND NOT r.holds_thread
        AND (EXISTS (SELECT FROM holdfast_entry mine WHERE mine.run_id = r.id)
            OR NOT EXISTS (SELECT FROM holdfast_effect e WHERE e.run_id = r.id))
        AND NOT EXISTS (
        SELECT FROM holdfast_entry mine
        WHERE mine.run_id = r.id AND (
            EXISTS (
                SELECT FROM holdfast_entry later
                WHERE later.thread_id = r.thread_id AND later.run_id <> r.id
                    AND later.checkpoint_id > mine.checkpoint_id
            )
            OR NOT EXISTS (
                SELECT FROM checkpoints c
                WHERE c.thread_id = r.thread_id AND c.checkpoint_ns = '' AND c.checkpoint_id >= mine.checkpoint_id
            )
        )
    )
    RETURNING r.*
), request AS (
    DELETE FROM holdfast_cancel_request c USING retried WHERE c.run_id = retried.id
)
SELECT * FROM retried;

-- name: run_retry_obstacle
-- Why a retry was refused.
SELECT r.status, r.holds_thread,
    (SELECT other.id FROM holdfast_run other
        WHERE other.thread_id = r.thread_id AND other.holds_thread AND other.id <> r.id) AS holder,
    (SELECT later.run_id FROM holdfast_entry later JOIN holdfast_entry mine ON mine.run_id = r.id
        WHERE later.thread_id = r.thread_id AND later.run_id <> r.id
            AND later.checkpoint_id > mine.checkpoint_id
        ORDER BY later.checkpoint_id LIMIT 1) AS later_run,
    NOT EXISTS (SELECT FROM holdfast_entry mine WHERE mine.run_id = r.id) AS rolled_back
FROM holdfast_run r WHERE r.id = %(id)s;

-- name: run_request_cancel
-- Asks for a run's end without touching its row (R11, R14). No row: it has ended, or never was.
INSERT INTO holdfast_cancel_request (run_id, rollback, reason, requested_at)
SELECT id, %(rollback)s, %(reason)s, holdfast_now() FROM holdfast_run
WHERE id = %(id)s AND status IN ('queued', 'running', 'interrupted')
ON CONFLICT (run_id) DO UPDATE SET rollback = holdfast_cancel_request.rollback OR excluded.rollback
RETURNING run_id;

-- name: run_apply_cancels
-- Ends the runs that nobody executes and somebody wants ended (R14); with rollback the thread stays held
-- until what the run wrote is gone.
WITH wanted AS MATERIALIZED (
    SELECT r.id, c.rollback, c.reason
    FROM holdfast_cancel_request c JOIN holdfast_run r ON r.id = c.run_id
    WHERE r.status IN ('queued', 'interrupted')
    ORDER BY r.id LIMIT 500
    FOR NO KEY UPDATE OF r SKIP LOCKED
), answered AS (
    DELETE FROM holdfast_cancel_request c USING wanted WHERE c.run_id = wanted.id
)
UPDATE holdfast_run r SET
    status = 'cancelled', token = NULL, owner = NULL, finished_at = holdfast_now(), questions = NULL,
    answers_type = NULL, answers = NULL, holds_thread = r.holds_thread AND wanted.rollback,
    error = jsonb_build_object('type', 'Cancelled', 'message', wanted.reason)
FROM wanted WHERE r.id = wanted.id
RETURNING r.*;

-- name: run_drop_stale_requests
-- Requests for runs that ended by themselves meanwhile.
DELETE FROM holdfast_cancel_request c USING holdfast_run r
WHERE r.id = c.run_id AND r.status IN ('succeeded', 'failed', 'cancelled');

-- name: run_revoke
-- Takes a cancelled run away from an executor that did not stop by itself, or at once if it is to be
-- rolled back: the token goes first, what it wrote goes next, the thread is freed last (R14).
WITH revoked AS (
    UPDATE holdfast_run SET
        status = 'cancelled', settled_by = token, token = NULL, owner = NULL, draining = false,
        finished_at = holdfast_now(), holds_thread = %(rollback)s,
        error = jsonb_build_object('type', 'Cancelled', 'message', 'cancelled while it was executed')
    WHERE id = %(id)s AND token = %(token)s AND status = 'running'
    RETURNING *
), request AS (
    DELETE FROM holdfast_cancel_request c USING revoked WHERE c.run_id = revoked.id
)
SELECT * FROM revoked;

-- name: run_rollbacks
-- Cancelled runs that still hold their thread: a rollback is under way, or its process died in it.
SELECT id, thread_id FROM holdfast_run WHERE status = 'cancelled' AND holds_thread LIMIT 20;

-- name: run_lock_thread_alone
-- First of the rollback's transaction, in the lock order of R20.
SELECT id FROM holdfast_thread WHERE id = %(thread_id)s FOR UPDATE SKIP LOCKED;

-- name: run_rollback_checkpoints
-- Deletes what the run wrote: its checkpoints in every namespace, with their writes, and its mark.
WITH entry AS (
    DELETE FROM holdfast_entry WHERE run_id = %(id)s
), gone AS (
    DELETE FROM checkpoints
    WHERE thread_id = %(thread_id)s AND metadata ->> 'run_id' = %(id)s::text
    RETURNING checkpoint_ns, checkpoint_id
)
DELETE FROM checkpoint_writes w USING gone
WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = gone.checkpoint_ns
    AND w.checkpoint_id = gone.checkpoint_id;

-- name: run_rollback_blobs
-- Deletes the values that no checkpoint of the thread refers to any more.
DELETE FROM checkpoint_blobs b
WHERE b.thread_id = %(thread_id)s AND NOT EXISTS (
    SELECT FROM checkpoints c
    WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
        AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version
);

-- name: run_free_thread
-- Last of the rollback: the thread's next run may begin.
UPDATE holdfast_run SET holds_thread = false
WHERE id = %(id)s AND status = 'cancelled' AND holds_thread RETURNING id;

-- name: run_mark_incarnation
-- Writes the marker that a crash or promotion of the server has emptied (R9).
INSERT INTO holdfast_incarnation (singleton, since) VALUES (true, holdfast_now()) ON CONFLICT DO NOTHING;

-- name: run_sweep_lost
-- Turns lost leases into queued or, after too many deaths in one place, failed runs (R9, R10, R12).
-- Lost is a lease that was not renewed for its length, counted from the server's incarnation at the
-- earliest; or one whose session is gone: renewed in this incarnation, but not for a second, and no
-- backend of that pid and start exists (a NULL start is another role's backend: unknown, not gone).
-- The lock is the transaction's, so it ends with this statement even if the process is stopped.
WITH gate AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(%(lock)s) AS open
), server AS MATERIALIZED (
    SELECT greatest(
        pg_postmaster_start_time(),
        coalesce((SELECT since FROM holdfast_incarnation), holdfast_now())
    ) AS since
), lost AS MATERIALIZED (
    SELECT r.id, r.thread_id, r.draining,
        extract(epoch FROM holdfast_now() - r.renewed_at)::float8 AS unrenewed,
        greatest(r.renewed_at, server.since) < holdfast_now() - make_interval(secs => %(lease)s) AS expired
    FROM holdfast_run r, gate, server
    WHERE gate.open AND r.status = 'running' AND (
        greatest(r.renewed_at, server.since) < holdfast_now() - make_interval(secs => %(lease)s)
        OR (
            r.session_pid IS NOT NULL AND r.renewed_at >= server.since
            AND r.renewed_at < holdfast_now() - make_interval(secs => %(gone)s)
            AND NOT EXISTS (
                SELECT FROM pg_stat_activity a
                WHERE a.pid = r.session_pid AND (a.backend_start IS NULL OR a.backend_start = r.session_start)
            )
        )
    )
    FOR UPDATE OF r SKIP LOCKED
), judged AS (
    SELECT lost.*, marker.text AS marker
    FROM lost CROSS JOIN LATERAL (
        SELECT concat_ws('/',
            (SELECT max(c.checkpoint_id) FROM checkpoints c WHERE c.thread_id = lost.thread_id),
            (SELECT count(*) FROM checkpoint_writes w WHERE w.thread_id = lost.thread_id),
            (SELECT max(coalesce(e.done_at, e.begun_at)) FROM holdfast_effect e WHERE e.run_id = lost.id)
        ) AS text
    ) AS marker
), counted AS (
    SELECT r.id, judged.marker, judged.draining, judged.unrenewed, judged.expired, r.owner AS lost_owner,
        CASE
            WHEN judged.draining THEN r.crashes
            WHEN r.crash_marker = judged.marker THEN r.crashes + 1
            ELSE 1
        END AS crashes
    FROM judged JOIN holdfast_run r ON r.id = judged.id
)
UPDATE holdfast_run r SET
    status = CASE WHEN counted.crashes >= r.max_crashes AND NOT counted.draining THEN 'failed' ELSE 'queued' END,
    finished_at = CASE WHEN counted.crashes >= r.max_crashes AND NOT counted.draining THEN holdfast_now() END,
    holds_thread = NOT (counted.crashes >= r.max_crashes AND NOT counted.draining),
    error = CASE WHEN counted.crashes >= r.max_crashes AND NOT counted.draining THEN jsonb_build_object(
        'type', 'WorkerDied',
        'message', format('died %%s times without getting further; last executed by %%s', counted.crashes, r.owner)
    ) END,
    token = NULL, owner = NULL, draining = false, crashes = counted.crashes,
    crash_marker = CASE WHEN counted.draining THEN r.crash_marker ELSE counted.marker END,
    rung_at = holdfast_now(), rings = 1,
    bell_at = holdfast_now() + make_interval(secs => %(busy_seconds)s)
FROM counted WHERE r.id = counted.id
RETURNING r.*, counted.lost_owner, counted.unrenewed, counted.expired, counted.draining AS was_draining;

-- name: run_sweep_deadlines
-- Ends what is past its deadline, whoever executes it (R8).
WITH late AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE status IN ('queued', 'running', 'interrupted') AND deadline < (SELECT holdfast_now())
    ORDER BY deadline LIMIT 500 FOR UPDATE SKIP LOCKED
)
UPDATE holdfast_run r SET
    status = 'failed', settled_by = token, token = NULL, owner = NULL, draining = false, holds_thread = false,
    finished_at = holdfast_now(), questions = NULL, answers_type = NULL, answers = NULL,
    error = jsonb_build_object('type', 'DeadlineExceeded', 'message', format('not finished by %%s', r.deadline))
FROM late WHERE r.id = late.id
RETURNING r.*;

-- name: run_bells
-- Stamps the claimable runs whose bell is due (R15) or was lost (R16): one that became due, and one that
-- nobody answered for a while, a short one where a consumer idles, else a long one that doubles. bell_at is
-- when the next bell is due though all are busy, so that a backlog costs the sweep one look at an index.
WITH due AS MATERIALIZED (
    SELECT r.id FROM holdfast_run r
    WHERE r.status = 'queued' AND r.not_before <= (SELECT holdfast_now())
        AND coalesce(r.queue, %(default_queue)s) = ANY(%(queues)s)
        AND (
            r.bell_at <= (SELECT holdfast_now())
            OR (%(idle)s AND r.rung_at < (SELECT holdfast_now() - make_interval(secs => %(idle_seconds)s)))
        )
        AND (r.holds_thread OR NOT EXISTS (
            SELECT FROM holdfast_run o
            WHERE o.thread_id = r.thread_id AND o.id <> r.id AND (
                o.holds_thread
                OR (o.status = 'queued' AND o.not_before <= holdfast_now()
                    AND (o.created_at, o.id) < (r.created_at, r.id))
            )
        ))
    ORDER BY r.priority DESC, r.not_before, r.id LIMIT %(most)s
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE holdfast_run r SET
    rung_at = holdfast_now(), rings = r.rings + 1,
    bell_at = holdfast_now() + make_interval(
        secs => least(%(busy_seconds)s * 2.0 ^ least(r.rings, 30), %(max_seconds)s)
    )
FROM due WHERE r.id = due.id
RETURNING r.*;

-- name: run_questions_held
-- For the question of each id: the deepest namespace whose newest checkpoint holds it, the task that asks,
-- and the bytes of that task's answers so far (R7). A @task that asks has written the question under itself
-- and under the node that called it; the answers stand under the @task, whose path is the longer one.
WITH newest AS MATERIALIZED (
    SELECT DISTINCT ON (checkpoint_ns) checkpoint_ns, checkpoint_id FROM checkpoints
    WHERE thread_id = %(thread_id)s ORDER BY checkpoint_ns, checkpoint_id DESC
)
SELECT w.checkpoint_ns, w.checkpoint_id, w.task_id, w.type, w.blob,
    resumed.type AS resumed_type, resumed.blob AS resumed_blob
FROM newest JOIN checkpoint_writes w
    ON w.thread_id = %(thread_id)s AND w.checkpoint_ns = newest.checkpoint_ns
    AND w.checkpoint_id = newest.checkpoint_id AND w.channel = '__interrupt__'
LEFT JOIN checkpoint_writes resumed
    ON resumed.thread_id = %(thread_id)s AND resumed.checkpoint_ns = w.checkpoint_ns
    AND resumed.checkpoint_id = w.checkpoint_id AND resumed.task_id = w.task_id
    AND resumed.channel = '__resume__'
ORDER BY length(w.checkpoint_ns) - length(replace(w.checkpoint_ns, '|', '')) + (w.checkpoint_ns <> '')::int DESC,
    length(w.task_path) DESC;

-- name: run_answer_states
-- For each (namespace, checkpoint, task) that a question was asked at: whether the checkpoint is still its
-- namespace's newest, and the task's answers so far (R7).
SELECT asked.position,
    asked.checkpoint_id = (
        SELECT max(c.checkpoint_id) FROM checkpoints c
        WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = asked.checkpoint_ns
    ) AS newest,
    w.type, w.blob
FROM unnest(%(namespaces)s::text[], %(checkpoints)s::text[], %(tasks)s::text[])
    WITH ORDINALITY AS asked (checkpoint_ns, checkpoint_id, task_id, position)
LEFT JOIN checkpoint_writes w
    ON w.thread_id = %(thread_id)s AND w.checkpoint_ns = asked.checkpoint_ns
    AND w.checkpoint_id = asked.checkpoint_id AND w.task_id = asked.task_id AND w.channel = '__resume__';

-- name: step_record
-- Adds lines to a run's timeline, or finishes them; refused once the lease is lost (P2).
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s AND token = %(token)s AND status = 'running' FOR KEY SHARE
), written AS (
    INSERT INTO holdfast_step (
        run_id, delivery, step, node, task_id, namespace, owner, started_at, finished_at, outcome
    )
    SELECT fence.id, %(delivery)s, line.step, line.node, line.task_id, line.namespace, %(owner)s,
        line.started_at, line.finished_at, line.outcome
    FROM fence, unnest(
        %(steps)s::int[], %(nodes)s::text[], %(task_ids)s::text[], %(namespaces)s::text[],
        %(started)s::timestamptz[], %(finished)s::timestamptz[], %(outcomes)s::text[]
    ) AS line (step, node, task_id, namespace, started_at, finished_at, outcome)
    ON CONFLICT (run_id, delivery, task_id)
    DO UPDATE SET finished_at = excluded.finished_at, outcome = excluded.outcome
)
SELECT count(*) FROM fence;
-- ---------------------------------------------------------------------------------------------
-- The saver: upstream's tables checkpoints, checkpoint_blobs, checkpoint_writes, and our mark
-- holdfast_entry. A fenced statement locks the run's row FOR KEY SHARE while token and status are
-- still the writer's, writes from that row, and returns how many rows the fence held: 0 means that
-- another attempt owns the run and that nothing was written (R2). The number of rows written says
-- nothing, as a repeated or empty write gives 0. All run at READ COMMITTED in autocommit mode.
-- ---------------------------------------------------------------------------------------------

-- name: saver_guard_session
-- The limits of R11 and the isolation of R2, where the server knows the setting.
SELECT set_config(s.name, v.value, false)
FROM (VALUES
    ('idle_in_transaction_session_timeout', %(idle)s::text),
    ('client_connection_check_interval', %(check)s::text),
    ('default_transaction_isolation', 'read committed')
) AS v (name, value)
JOIN pg_settings s ON s.name = v.name

-- name: saver_assume_role
-- What Django does with OPTIONS["assume_role"].
SELECT set_config('role', %(role)s::text, false)

-- name: saver_put
-- Stores a checkpoint with the values of its changed channels. Without a fence, for use outside of a run.
WITH blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, b.channel, b.version, b.type, b.blob
    FROM unnest(%(channels)b::text[], %(versions)b::text[], %(types)b::text[], %(blobs)b::bytea[])
        AS b (channel, version, type, blob)
    ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
)
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
VALUES (%(thread_id)s::text, %(checkpoint_ns)s::text, %(checkpoint_id)s::text, %(parent_id)s::text,
        %(checkpoint)s::jsonb, %(metadata)s::jsonb)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata

-- name: saver_put_fenced
-- The same under the fence, with the pending writes (w_*) of the checkpoint before, as far as they have
-- waited for it; %(enter)s also marks that the run's input has been applied (R5). That first commit does
-- not wait for the disk: a crash of the server that loses it loses checkpoint and mark together, and what
-- follows (a step, an effect, a question, the end) is a later commit in the same log that makes it durable.
WITH relaxed AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) WHERE %(enter)s::boolean
), fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, b.channel, b.version, b.type, b.blob
    FROM fence, unnest(%(channels)b::text[], %(versions)b::text[], %(types)b::text[], %(blobs)b::bytea[])
        AS b (channel, version, type, blob)
    ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
), saved AS (
    INSERT INTO checkpoints
        (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, %(checkpoint_id)s::text, %(parent_id)s::text,
           %(checkpoint)s::jsonb, %(metadata)s::jsonb
    FROM fence
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
    DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata
), written AS (
    INSERT INTO checkpoint_writes
        (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, %(parent_id)s::text, w.task_id, w.task_path,
           w.idx, w.channel, w.type, w.blob
    FROM fence, unnest(%(w_tasks)b::text[], %(w_paths)b::text[], %(w_indexes)b::int[], %(w_channels)b::text[],
                       %(w_types)b::text[], %(w_blobs)b::bytea[])
        AS w (task_id, task_path, idx, channel, type, blob)
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING
), entry AS (
    INSERT INTO holdfast_entry (run_id, thread_id, checkpoint_id)
    SELECT fence.id, %(thread_id)s::text, %(checkpoint_id)s::text
    FROM fence
    WHERE %(enter)s::boolean
    ON CONFLICT (run_id) DO NOTHING
)
SELECT count(*) FROM fence LEFT JOIN relaxed ON true

-- name: saver_put_writes
-- Stores the pending writes of one task. A repeated write keeps the first value, unless %(replace)s.
INSERT INTO checkpoint_writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, %(checkpoint_id)s::text, %(task_id)s::text,
       %(task_path)s::text, w.idx, w.channel, w.type, w.blob
FROM unnest(%(indexes)b::int[], %(channels)b::text[], %(types)b::text[], %(blobs)b::bytea[])
    AS w (idx, channel, type, blob)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob
WHERE %(replace)s::boolean

-- name: saver_put_writes_fenced
-- The same under the fence.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), written AS (
    INSERT INTO checkpoint_writes
        (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    SELECT %(thread_id)s::text, %(checkpoint_ns)s::text, %(checkpoint_id)s::text, %(task_id)s::text,
           %(task_path)s::text, w.idx, w.channel, w.type, w.blob
    FROM fence, unnest(%(indexes)b::int[], %(channels)b::text[], %(types)b::text[], %(blobs)b::bytea[])
        AS w (idx, channel, type, blob)
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
    DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob
    WHERE %(replace)s::boolean
)
SELECT count(*) FROM fence

-- name: saver_get
-- One checkpoint by its id, or the newest of the namespace, with its values and pending writes.
SELECT c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
       c.checkpoint::text, c.metadata::text,
       v.channels, v.types, v.blobs,
       w.task_ids, w.channels, w.types, w.blobs, w.task_paths, w.indexes
FROM checkpoints c
CROSS JOIN LATERAL (
    SELECT array_agg(b.channel) AS channels, array_agg(b.type) AS types, array_agg(b.blob) AS blobs
    FROM jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
    JOIN checkpoint_blobs b
      ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
     AND b.channel = version.key AND b.version = version.value
) v
CROSS JOIN LATERAL (
    SELECT array_agg(p.task_id) AS task_ids, array_agg(p.channel) AS channels, array_agg(p.type) AS types,
           array_agg(p.blob) AS blobs, array_agg(p.task_path) AS task_paths, array_agg(p.idx) AS indexes
    FROM checkpoint_writes p
    WHERE p.thread_id = c.thread_id AND p.checkpoint_ns = c.checkpoint_ns
      AND p.checkpoint_id = c.checkpoint_id
) w
WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = %(checkpoint_ns)s::text
  AND c.checkpoint_id = coalesce(%(checkpoint_id)s::text, (
      SELECT max(n.checkpoint_id) FROM checkpoints n
      WHERE n.thread_id = %(thread_id)s::text AND n.checkpoint_ns = %(checkpoint_ns)s::text))

-- name: saver_list
-- A page of checkpoints, newest first; a filter that is NULL is none. Never prepared, so that the
-- planner sees which filters there are. after_* is the last row of the page before.
SELECT c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
       c.checkpoint::text, c.metadata::text,
       v.channels, v.types, v.blobs,
       w.task_ids, w.channels, w.types, w.blobs, w.task_paths, w.indexes
FROM (
    SELECT * FROM checkpoints
    WHERE (%(thread_id)s::text IS NULL OR thread_id = %(thread_id)s::text)
      AND (%(checkpoint_ns)s::text IS NULL OR checkpoint_ns = %(checkpoint_ns)s::text)
      AND (%(checkpoint_id)s::text IS NULL OR checkpoint_id = %(checkpoint_id)s::text)
      AND (%(before)s::text IS NULL OR checkpoint_id < %(before)s::text)
      AND (%(filter)s::jsonb IS NULL OR metadata @> %(filter)s::jsonb)
      AND (%(after_id)s::text IS NULL OR (checkpoint_id, thread_id, checkpoint_ns)
           < (%(after_id)s::text, %(after_thread)s::text, %(after_ns)s::text))
    ORDER BY checkpoint_id DESC, thread_id DESC, checkpoint_ns DESC
    LIMIT %(limit)s::bigint
) c
CROSS JOIN LATERAL (
    SELECT array_agg(b.channel) AS channels, array_agg(b.type) AS types, array_agg(b.blob) AS blobs
    FROM jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
    JOIN checkpoint_blobs b
      ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
     AND b.channel = version.key AND b.version = version.value
) v
CROSS JOIN LATERAL (
    SELECT array_agg(p.task_id) AS task_ids, array_agg(p.channel) AS channels, array_agg(p.type) AS types,
           array_agg(p.blob) AS blobs, array_agg(p.task_path) AS task_paths, array_agg(p.idx) AS indexes
    FROM checkpoint_writes p
    WHERE p.thread_id = c.thread_id AND p.checkpoint_ns = c.checkpoint_ns
      AND p.checkpoint_id = c.checkpoint_id
) w
ORDER BY c.checkpoint_id DESC, c.thread_id DESC, c.checkpoint_ns DESC

-- name: saver_delete_thread
-- Everything that upstream's tables hold of one thread.
WITH writes AS (
    DELETE FROM checkpoint_writes WHERE thread_id = %(thread_id)s::text
), blobs AS (
    DELETE FROM checkpoint_blobs WHERE thread_id = %(thread_id)s::text
)
DELETE FROM checkpoints WHERE thread_id = %(thread_id)s::text

-- name: saver_delete_for_runs
-- The checkpoints whose metadata name one of the runs, their writes, and the values that only they
-- referred to; a later checkpoint that had one of them as parent is left without.
WITH doomed AS MATERIALIZED (
    SELECT thread_id, checkpoint_ns, checkpoint_id, checkpoint -> 'channel_versions' AS versions
    FROM checkpoints
    WHERE metadata ->> 'run_id' = ANY (%(run_ids)s::text[])
), writes AS (
    DELETE FROM checkpoint_writes w USING doomed d
    WHERE w.thread_id = d.thread_id AND w.checkpoint_ns = d.checkpoint_ns
      AND w.checkpoint_id = d.checkpoint_id
), orphans AS (
    UPDATE checkpoints c SET parent_checkpoint_id = NULL
    FROM doomed d
    WHERE c.thread_id = d.thread_id AND c.checkpoint_ns = d.checkpoint_ns
      AND c.parent_checkpoint_id = d.checkpoint_id
      AND (c.metadata ->> 'run_id' = ANY (%(run_ids)s::text[])) IS NOT TRUE
), freed AS (
    SELECT DISTINCT d.thread_id, d.checkpoint_ns, version.key AS channel, version.value AS version
    FROM doomed d, jsonb_each_text(d.versions) AS version
), blobs AS (
    DELETE FROM checkpoint_blobs b USING freed f
    WHERE b.thread_id = f.thread_id AND b.checkpoint_ns = f.checkpoint_ns
      AND b.channel = f.channel AND b.version = f.version
      AND NOT EXISTS (
          SELECT FROM checkpoints k
          WHERE k.thread_id = f.thread_id AND k.checkpoint_ns = f.checkpoint_ns
            AND k.checkpoint -> 'channel_versions' ->> f.channel = f.version
            AND (k.metadata ->> 'run_id' = ANY (%(run_ids)s::text[])) IS NOT TRUE
      )
)
DELETE FROM checkpoints c USING doomed d
WHERE c.thread_id = d.thread_id AND c.checkpoint_ns = d.checkpoint_ns AND c.checkpoint_id = d.checkpoint_id

-- name: saver_copy_thread
-- The whole parent chain of a thread, with values and writes, under another thread id.
WITH blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(target)s::text, checkpoint_ns, channel, version, type, blob
    FROM checkpoint_blobs WHERE thread_id = %(source)s::text
    ON CONFLICT DO NOTHING
), writes AS (
    INSERT INTO checkpoint_writes
        (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    SELECT %(target)s::text, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
    FROM checkpoint_writes WHERE thread_id = %(source)s::text
    ON CONFLICT DO NOTHING
)
INSERT INTO checkpoints
    (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
SELECT %(target)s::text, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
FROM checkpoints WHERE thread_id = %(source)s::text
ON CONFLICT DO NOTHING

-- name: saver_missing_tables
-- Which of the named tables the connection's search path does not lead to.
SELECT name FROM unnest(%(names)s::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NULL ORDER BY name

-- ═══ Django's own connection ═══════════════════════════════════════════════════════════════════════

-- name: backend_pid
SELECT pg_backend_pid();

-- name: savepoint
SAVEPOINT holdfast;

-- name: savepoint_rollback
ROLLBACK TO SAVEPOINT holdfast;

-- name: savepoint_release
RELEASE SAVEPOINT holdfast;

-- ═══ threads ═══════════════════════════════════════════════════════════════════════════════════════

-- name: thread_lock
-- Alone on the thread: claims and retention wait (R20).
SELECT id FROM holdfast_thread WHERE id = %(thread_id)s FOR UPDATE

-- name: thread_holder
-- The run that holds the thread (R4), or else one that executes on it.
SELECT * FROM holdfast_run
WHERE thread_id = %(thread_id)s AND (holds_thread OR status = 'running') LIMIT 1

-- name: thread_update_obstacle
-- What of the interrupted run's pending tasks a state update would lose: tasks with writes other than
-- questions, or with an effect in the ledger (R5).
SELECT 'finished tasks' AS what FROM checkpoint_writes w
WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = ''
    AND w.checkpoint_id = (
        SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %(thread_id)s AND checkpoint_ns = ''
    )
    AND w.channel NOT IN ('__interrupt__', '__resume__', '__error__')
UNION ALL
SELECT 'effects' FROM holdfast_effect e
WHERE e.run_id = %(run_id)s AND e.begun_at > coalesce((
    SELECT (c.checkpoint ->> 'ts')::timestamptz FROM checkpoints c
    WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = ''
    ORDER BY c.checkpoint_id DESC LIMIT 1
), '-infinity')
LIMIT 1

-- name: thread_fork
-- Copies a checkpoint with its past, values and writes to a thread that does not exist yet. The writes of
-- the checkpoint itself are results that wait for their siblings only if no checkpoint has followed it;
-- otherwise they belong to what followed, and the branch would take them for its own. `made` is 0 where
-- the target existed, `copied` where the checkpoint does not.
WITH RECURSIVE target AS (
    INSERT INTO holdfast_thread (id, created_at)
    SELECT %(target)s::text, holdfast_now()
    WHERE NOT EXISTS (SELECT FROM checkpoints WHERE thread_id = %(target)s::text)
    ON CONFLICT DO NOTHING RETURNING id
), past AS (
    SELECT c.* FROM checkpoints c
    WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = '' AND c.checkpoint_id = %(checkpoint_id)s
    UNION ALL
    SELECT c.* FROM past JOIN checkpoints c
        ON c.thread_id = past.thread_id AND c.checkpoint_ns = '' AND c.checkpoint_id = past.parent_checkpoint_id
), copied AS (
    INSERT INTO checkpoints (
        thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
    )
    SELECT target.id, past.checkpoint_ns, past.checkpoint_id, past.parent_checkpoint_id, past.type,
        past.checkpoint, past.metadata
    FROM past, target RETURNING checkpoint_id
), blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT DISTINCT ON (b.channel, b.version) target.id, '', b.channel, b.version, b.type, b.blob
    FROM target, past
    CROSS JOIN LATERAL jsonb_each_text(past.checkpoint -> 'channel_versions') AS v (channel, version)
    JOIN checkpoint_blobs b ON b.thread_id = past.thread_id AND b.checkpoint_ns = ''
        AND b.channel = v.channel AND b.version = v.version
), writes AS (
    INSERT INTO checkpoint_writes (
        thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path
    )
    SELECT target.id, '', w.checkpoint_id, w.task_id, w.idx, w.channel, w.type, w.blob, w.task_path
    FROM target, past JOIN checkpoint_writes w
        ON w.thread_id = past.thread_id AND w.checkpoint_ns = '' AND w.checkpoint_id = past.checkpoint_id
    WHERE w.checkpoint_id <> %(checkpoint_id)s OR NOT EXISTS (
        SELECT FROM checkpoints followed
        WHERE followed.thread_id = past.thread_id AND followed.checkpoint_ns = ''
            AND followed.parent_checkpoint_id = w.checkpoint_id
    )
)
SELECT (SELECT count(*) FROM target) AS made, (SELECT count(*) FROM copied) AS copied


-- name: thread_graph
-- Which graph the thread belongs to: that of its newest run, or of the run that made its newest checkpoint.
SELECT graph, version FROM (
    SELECT 1 AS rank, graph, version, created_at FROM holdfast_run WHERE thread_id = %(thread_id)s
    UNION ALL
    SELECT 2, r.graph, r.version, r.created_at FROM holdfast_run r WHERE r.id::text = (
        SELECT c.metadata ->> 'run_id' FROM checkpoints c
        WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = '' ORDER BY c.checkpoint_id DESC LIMIT 1
    )
) AS candidates ORDER BY rank, created_at DESC LIMIT 1
-- ---------------------------------------------------------------------------------------------
-- The effect ledger: holdfast_effect, one row an effect. Every writing statement carries the fence
-- (R2) and returns how many rows it held. A row is begun, then done; in_doubt is what only an
-- at_most_once effect becomes, when nobody can know whether its body did its work (P4).
-- ---------------------------------------------------------------------------------------------

-- name: effect_begin
-- Announces an effect before its body runs. A keyed one that was begun before is announced again,
-- which counts its attempt; any other row that is there stays as it is, and `began` is false.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), announced AS (
    INSERT INTO holdfast_effect AS e
        (key, run_id, thread_id, task_id, function, call, kind, arguments_hash, arguments,
         state, attempts, answers, error, begun_at, token)
    SELECT %(key)s::text, fence.id, %(thread_id)s::text, %(task_id)s::text, %(function)s::text,
           %(call)s::int, %(kind)s::text, %(arguments_hash)s::text, %(arguments)s::text,
           'begun', 1, 0, '', holdfast_now(), %(token)s::uuid
    FROM fence
    ON CONFLICT (key) DO UPDATE SET attempts = e.attempts + 1, token = EXCLUDED.token
        WHERE EXCLUDED.kind = 'keyed' AND e.kind = 'keyed' AND e.state = 'begun'
          AND e.arguments_hash = EXCLUDED.arguments_hash
    RETURNING attempts
)
SELECT (SELECT count(*) FROM fence) AS holders, EXISTS (SELECT FROM announced) AS began,
       (SELECT attempts FROM announced) AS attempts

-- name: effect_find
-- What the ledger says about one effect.
SELECT key, task_id, function, call, kind, arguments_hash, arguments, state, attempts, answers, error,
       result_type, result, token
FROM holdfast_effect WHERE key = %(key)s::text

-- name: effect_finish
-- Records the result of an effect that has happened. A repeated recording changes nothing.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), finished AS (
    UPDATE holdfast_effect e
    SET state = 'done', result_type = %(result_type)s::text, result = %(result)s::bytea,
        done_at = holdfast_now(), token = %(token)s::uuid, error = '',
        answers = greatest(e.answers, %(answers)s::int)
    FROM fence
    WHERE e.key = %(key)s::text AND e.state <> 'done'
)
SELECT count(*) FROM fence

-- name: effect_doubt
-- Records that nobody knows whether an at_most_once effect happened, why, and how many answers to
-- that question have been used so far.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), doubted AS (
    UPDATE holdfast_effect e
    SET state = 'in_doubt', error = %(error)s::text, token = %(token)s::uuid,
        answers = greatest(e.answers, %(answers)s::int)
    FROM fence
    WHERE e.key = %(key)s::text AND e.state <> 'done'
)
SELECT count(*) FROM fence

-- name: effect_begin_again
-- The effect is known not to have happened: announces its next attempt. The number of attempts seen
-- is compared, so that a repetition after a commit of unknown outcome (R3) changes nothing.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), announced AS (
    UPDATE holdfast_effect e
    SET state = 'begun', attempts = e.attempts + 1, error = '', token = %(token)s::uuid,
        answers = greatest(e.answers, %(answers)s::int), begun_at = holdfast_now()
    FROM fence
    WHERE e.key = %(key)s::text AND e.state <> 'done' AND e.attempts = %(attempts)s::int
)
SELECT count(*) FROM fence

-- name: effect_record
-- The last statement of a transactional effect's transaction: the fence, and the finished row. With
-- `recorded` false another transaction has recorded the effect, and this one must be rolled back.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
    FOR KEY SHARE
), recorded AS (
    INSERT INTO holdfast_effect
        (key, run_id, thread_id, task_id, function, call, kind, arguments_hash, arguments,
         state, attempts, answers, error, result_type, result, begun_at, done_at, token)
    SELECT %(key)s::text, fence.id, %(thread_id)s::text, %(task_id)s::text, %(function)s::text,
           %(call)s::int, %(kind)s::text, %(arguments_hash)s::text, %(arguments)s::text,
           'done', 1, 0, '', %(result_type)s::text, %(result)s::bytea,
           transaction_timestamp(), holdfast_now(), %(token)s::uuid
    FROM fence
    ON CONFLICT (key) DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM fence) AS holders, EXISTS (SELECT FROM recorded) AS recorded

-- name: effect_isolation
-- The first statement of that transaction: the fence is only right at READ COMMITTED (R2).
SET TRANSACTION ISOLATION LEVEL READ COMMITTED

-- name: effect_idle_limit
-- How long the transaction may idle (R11), for this transaction only.
SELECT set_config('idle_in_transaction_session_timeout', %(idle)s::text, true)

-- ---------------------------------------------------------------------------------------------
-- The node cache: holdfast_node_cache. Values are shared by all workers; what has expired is not
-- returned, and is deleted by retention only, never on the way of a reader.
-- ---------------------------------------------------------------------------------------------

-- name: cache_get
-- The values that are there and have not expired, of any number of keys. The position says of which.
SELECT wanted.position, entry.type, entry.value
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) WITH ORDINALITY AS wanted (namespace, key, position)
JOIN holdfast_node_cache entry
  ON entry.namespace = ARRAY(SELECT jsonb_array_elements_text(wanted.namespace::jsonb))::text[]
 AND entry.key = wanted.key
WHERE entry.expires_at IS NULL OR entry.expires_at > holdfast_now()

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
    expires_at = EXCLUDED.expires_at

-- name: cache_clear
-- Deletes everything under the namespaces; without any (NULL) the whole cache.
DELETE FROM holdfast_node_cache
WHERE %(namespaces)s::text[] IS NULL
   OR namespace IN (SELECT ARRAY(SELECT jsonb_array_elements_text(n::jsonb))::text[]
                    FROM unnest(%(namespaces)s::text[]) AS n)

-- ---------------------------------------------------------------------------------------------
-- Retention (R20, P10). One transaction a thread: the row of the thread is locked first, what may
-- go is looked up in a second statement, whose snapshot is younger than the lock, then it is deleted.
-- ---------------------------------------------------------------------------------------------

-- name: retention_threads
-- The next thread ids after %(after)s, of threads with a row and of threads that only have checkpoints,
-- which stock savers wrote. The recursion hops along the index from one thread to the next.
WITH RECURSIVE hop (id, n) AS (
    (SELECT thread_id, 1 FROM checkpoints WHERE thread_id > %(after)s::text ORDER BY thread_id LIMIT 1)
    UNION ALL
    SELECT (SELECT c.thread_id FROM checkpoints c WHERE c.thread_id > hop.id ORDER BY c.thread_id LIMIT 1), n + 1
    FROM hop WHERE hop.id IS NOT NULL AND n < %(limit)s::int
), known AS (
    SELECT id FROM holdfast_thread WHERE id > %(after)s::text ORDER BY id LIMIT %(limit)s::int
)
SELECT id FROM (SELECT id FROM hop WHERE id IS NOT NULL UNION SELECT id::text FROM known) AS either
ORDER BY id LIMIT %(limit)s::int

-- name: retention_look
-- What retention has to know about threads: the newest checkpoint in any namespace and whether one of
-- the thread's own runs wrote it, the number of root checkpoints, and the runs. Unlocked it finds
-- candidates; under the lock of one thread it decides.
SELECT t.id AS thread_id, holdfast_now() AS now, r.created_at, c.newest, c.roots,
       EXISTS (
           SELECT FROM holdfast_run o JOIN checkpoints n ON n.metadata ->> 'run_id' = o.id::text
           WHERE o.thread_id = t.id AND n.thread_id = t.id AND n.checkpoint_id = c.newest
       ) AS fenced,
       runs.total > 0 AS has_runs, coalesce(runs.unfinished, false) AS unfinished, runs.last_run, runs.oldest_end
FROM unnest(%(ids)s::text[]) AS t (id)
LEFT JOIN holdfast_thread r ON r.id = t.id
CROSS JOIN LATERAL (
    SELECT max(checkpoint_id) AS newest, count(*) FILTER (WHERE checkpoint_ns = '') AS roots
    FROM checkpoints WHERE thread_id = t.id
) AS c
CROSS JOIN LATERAL (
    SELECT count(*) AS total,
           bool_or(holds_thread OR status IN ('queued', 'running', 'interrupted')) AS unfinished,
           max(coalesce(finished_at, created_at)) AS last_run, min(finished_at) AS oldest_end
    FROM holdfast_run WHERE thread_id = t.id
) AS runs

-- name: retention_lock_timeout
-- How long retention waits where it cannot skip a lock.
SELECT set_config('lock_timeout', %(ms)s::text, false)

-- name: retention_adopt
-- Gives a thread that a stock saver wrote, and that is still there, the row that R20 locks.
INSERT INTO holdfast_thread (id, created_at)
SELECT %(thread_id)s::text, %(at)s::timestamptz
WHERE EXISTS (SELECT FROM checkpoints WHERE thread_id = %(thread_id)s::text)
   OR EXISTS (SELECT FROM checkpoint_writes WHERE thread_id = %(thread_id)s::text)
   OR EXISTS (SELECT FROM checkpoint_blobs WHERE thread_id = %(thread_id)s::text)
ON CONFLICT (id) DO NOTHING

-- name: retention_lock
-- The lock that enqueue, claim, resume, retry, fork and update_state wait for; no row: somebody has it.
SELECT id FROM holdfast_thread WHERE id = %(thread_id)s::text FOR UPDATE SKIP LOCKED

-- name: retention_delete_runs
-- Ended runs of the thread that are old enough, with everything that belongs to them.
WITH doomed AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE thread_id = %(thread_id)s::text AND status IN ('succeeded', 'failed', 'cancelled')
      AND NOT holds_thread AND finished_at < holdfast_now() - make_interval(secs => %(age)s::float8)
    ORDER BY id FOR UPDATE
), effects AS (
    DELETE FROM holdfast_effect USING doomed WHERE run_id = doomed.id RETURNING 1
), entries AS (
    DELETE FROM holdfast_entry USING doomed WHERE run_id = doomed.id RETURNING 1
), steps AS (
    DELETE FROM holdfast_step USING doomed WHERE run_id = doomed.id RETURNING 1
), requests AS (
    DELETE FROM holdfast_cancel_request USING doomed WHERE run_id = doomed.id RETURNING 1
), runs AS (
    DELETE FROM holdfast_run r USING doomed WHERE r.id = doomed.id RETURNING 1
)
SELECT (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM effects) AS effects,
       (SELECT count(*) FROM entries) AS entries, (SELECT count(*) FROM steps) AS steps,
       (SELECT count(*) FROM requests) AS cancel_requests

-- name: retention_delete_thread
-- All checkpoints of the thread, in every namespace.
WITH writes AS (
    DELETE FROM checkpoint_writes WHERE thread_id = %(thread_id)s::text RETURNING 1
), blobs AS (
    DELETE FROM checkpoint_blobs WHERE thread_id = %(thread_id)s::text RETURNING 1
), gone AS (
    DELETE FROM checkpoints WHERE thread_id = %(thread_id)s::text RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS checkpoints, (SELECT count(*) FROM writes) AS writes,
       (SELECT count(*) FROM blobs) AS blobs

-- name: retention_drop_thread
-- The row of a thread of which nothing is left.
DELETE FROM holdfast_thread t
WHERE t.id = %(thread_id)s::text
  AND NOT EXISTS (SELECT FROM holdfast_run r WHERE r.thread_id = t.id)
  AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = t.id)

-- name: retention_is_delta
-- Whether a DeltaChannel is among the thread's channels, whose values are rebuilt from all ancestors:
-- it counts updates in the metadata, and its snapshots are blobs behind an inline `true`.
SELECT EXISTS (
    SELECT FROM checkpoints c
    WHERE c.thread_id = %(thread_id)s::text
      AND (c.metadata ?| ARRAY['counters_since_delta_snapshot', 'delta_writes_versioned']
           OR EXISTS (
               SELECT FROM jsonb_each(c.checkpoint -> 'channel_values') AS held
               JOIN checkpoint_blobs b
                 ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = held.key
                AND b.version = c.checkpoint -> 'channel_versions' ->> held.key
               WHERE held.value = 'true'::jsonb))
)

-- name: retention_thin
-- Keeps the newest %(keep)s root checkpoints of a thread and what belongs to them: the parent of one
-- that predates version 4, whose pending sends stand there; the namespaces of the subgraph calls that
-- started from a kept root, or from one that nobody knows; of a subgraph with a memory of its own,
-- whose namespace has no task id, everything since the oldest kept root, and the state it had then.
-- The rest of the checkpoints goes, with its writes; a kept checkpoint whose parent goes has none.
WITH newest AS MATERIALIZED (
    SELECT checkpoint_id, parent_checkpoint_id, (checkpoint ->> 'v')::int AS v
    FROM checkpoints
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns = ''
    ORDER BY checkpoint_id DESC LIMIT %(keep)s::int
), kept AS MATERIALIZED (
    SELECT checkpoint_id FROM newest
    UNION SELECT parent_checkpoint_id FROM newest WHERE v < 4 AND parent_checkpoint_id IS NOT NULL
), doomed_roots AS MATERIALIZED (
    SELECT checkpoint_id FROM checkpoints
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns = ''
      AND checkpoint_id NOT IN (SELECT checkpoint_id FROM kept)
), calls AS MATERIALIZED (
    SELECT checkpoint_ns
    FROM checkpoints
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns LIKE '%%:%%'
    GROUP BY checkpoint_ns
    HAVING bool_and(coalesce(metadata -> 'parents' ->> '' IN (SELECT checkpoint_id FROM doomed_roots), false))
), memories AS MATERIALIZED (
    SELECT checkpoint_ns, max(checkpoint_id) AS oldest
    FROM checkpoints
    WHERE thread_id = %(thread_id)s::text AND checkpoint_ns <> '' AND checkpoint_ns NOT LIKE '%%:%%'
      AND checkpoint_id <= (SELECT min(checkpoint_id) FROM kept)
    GROUP BY checkpoint_ns
), doomed AS MATERIALIZED (
    SELECT '' AS checkpoint_ns, checkpoint_id FROM doomed_roots
    UNION ALL
    SELECT c.checkpoint_ns, c.checkpoint_id
    FROM checkpoints c JOIN calls USING (checkpoint_ns)
    WHERE c.thread_id = %(thread_id)s::text
    UNION ALL
    SELECT c.checkpoint_ns, c.checkpoint_id
    FROM checkpoints c JOIN memories m USING (checkpoint_ns)
    WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_id < m.oldest
), writes AS (
    DELETE FROM checkpoint_writes w USING doomed d
    WHERE w.thread_id = %(thread_id)s::text AND w.checkpoint_ns = d.checkpoint_ns
      AND w.checkpoint_id = d.checkpoint_id
    RETURNING 1
), orphans AS (
    UPDATE checkpoints c SET parent_checkpoint_id = NULL
    FROM doomed d
    WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = d.checkpoint_ns
      AND c.parent_checkpoint_id = d.checkpoint_id
      AND NOT EXISTS (SELECT FROM doomed x
                      WHERE x.checkpoint_ns = c.checkpoint_ns AND x.checkpoint_id = c.checkpoint_id)
), gone AS (
    DELETE FROM checkpoints c USING doomed d
    WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = d.checkpoint_ns
      AND c.checkpoint_id = d.checkpoint_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS checkpoints, (SELECT count(*) FROM writes) AS writes

-- name: retention_delete_blobs
-- Values of the thread that none of its checkpoints refers to any more.
WITH used AS MATERIALIZED (
    SELECT DISTINCT c.checkpoint_ns, version.key AS channel, version.value AS version
    FROM checkpoints c CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
    WHERE c.thread_id = %(thread_id)s::text
), gone AS (
    DELETE FROM checkpoint_blobs b
    WHERE b.thread_id = %(thread_id)s::text
      AND NOT EXISTS (SELECT FROM used u WHERE u.checkpoint_ns = b.checkpoint_ns
                      AND u.channel = b.channel AND u.version = b.version)
    RETURNING 1
)
SELECT count(*) AS blobs FROM gone

-- name: retention_orphaned_threads
-- Threads with writes whose checkpoint is not there, or with values though no checkpoint is left.
SELECT thread_id FROM (
    SELECT w.thread_id FROM checkpoint_writes w
    WHERE NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = w.thread_id
                      AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id)
    UNION
    SELECT b.thread_id FROM checkpoint_blobs b
    WHERE NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = b.thread_id)
) AS orphaned
WHERE thread_id > %(after)s::text
ORDER BY thread_id LIMIT %(limit)s::int

-- name: retention_orphaned_writes
-- The checkpoints that a thread has writes of, but not the checkpoint itself.
SELECT DISTINCT w.checkpoint_id FROM checkpoint_writes w
WHERE w.thread_id = %(thread_id)s::text
  AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = w.thread_id
                  AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id)

-- name: retention_delete_orphaned_writes
-- The writes of those checkpoints, unless the checkpoint has come meanwhile.
WITH gone AS (
    DELETE FROM checkpoint_writes w
    WHERE w.thread_id = %(thread_id)s::text AND w.checkpoint_id = ANY (%(checkpoint_ids)s::text[])
      AND NOT EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = w.thread_id
                      AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = w.checkpoint_id)
    RETURNING 1
)
SELECT count(*) AS writes FROM gone

-- name: retention_delete_strays
-- Rows of runs that are not there, at most %(limit)s of each sort (NULL: all). Such a row is only ever
-- written while its run is there, so none of them is on its way.
WITH effects AS (
    DELETE FROM holdfast_effect WHERE key IN (
        SELECT e.key FROM holdfast_effect e
        WHERE NOT EXISTS (SELECT FROM holdfast_run r WHERE r.id = e.run_id)
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
), entries AS (
    DELETE FROM holdfast_entry WHERE run_id IN (
        SELECT e.run_id FROM holdfast_entry e
        WHERE NOT EXISTS (SELECT FROM holdfast_run r WHERE r.id = e.run_id)
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
), steps AS (
    DELETE FROM holdfast_step WHERE id IN (
        SELECT s.id FROM holdfast_step s
        WHERE NOT EXISTS (SELECT FROM holdfast_run r WHERE r.id = s.run_id)
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
), requests AS (
    DELETE FROM holdfast_cancel_request WHERE run_id IN (
        SELECT c.run_id FROM holdfast_cancel_request c
        WHERE NOT EXISTS (SELECT FROM holdfast_run r WHERE r.id = c.run_id)
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT (SELECT count(*) FROM effects) AS effects, (SELECT count(*) FROM entries) AS entries,
       (SELECT count(*) FROM steps) AS steps, (SELECT count(*) FROM requests) AS cancel_requests

-- name: retention_delete_cache
-- Expired cache entries, at most %(limit)s (NULL: all). One that is renewed meanwhile stays.
WITH gone AS (
    DELETE FROM holdfast_node_cache WHERE id IN (
        SELECT id FROM holdfast_node_cache WHERE expires_at <= holdfast_now()
        LIMIT %(limit)s::int FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) AS cache_entries FROM gone

-- name: thread_has_state
-- Whether the thread has a checkpoint, or a run that makes one before a new run's turn comes.
SELECT EXISTS (SELECT FROM checkpoints WHERE thread_id = %(thread_id)s)
    OR EXISTS (SELECT FROM holdfast_run WHERE thread_id = %(thread_id)s) AS has_state
