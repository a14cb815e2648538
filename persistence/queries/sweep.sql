-- What the sweep in every worker mends about once a second: lost leases, missed deadlines, bells that
-- nobody answered (ledger/sweeps.py; R8, R9, R10, R12, R15, R16).

-- name: run_mark_incarnation
-- Writes the marker that a crash or promotion of the server has emptied (R9).
INSERT INTO holdfast_incarnation (singleton, since) VALUES (true, holdfast_now()) ON CONFLICT DO NOTHING;

-- name: run_sweep_lost
-- Turns lost leases into queued or, after too many deaths in one place, failed runs (R9, R10, R12).
-- Lost is a lease that was not renewed for its length, counted from the server's incarnation at the
-- earliest; or one whose session is gone: renewed in this incarnation, but not for a second, and no
-- backend of that pid and start exists (a NULL start is another role's backend: unknown, not gone).
-- The lock is the transaction's, so it ends with this statement even if the process is stopped.
-- A statement that has waited itself, for somebody who locked the table, judges nobody: renewals waited with it.
WITH gate AS MATERIALIZED (
    SELECT clock_timestamp() - statement_timestamp() < make_interval(secs => %(gone)s)
        AND pg_try_advisory_xact_lock(%(lock)s) AS open
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
            (SELECT e.progress FROM holdfast_entry e WHERE e.run_id = lost.id),
            (SELECT max(coalesce(e.done_at, e.begun_at)) FROM holdfast_effect e WHERE e.run_id = lost.id)
        ) AS text
    ) AS marker
), counted AS (
    SELECT r.id, judged.marker, judged.draining, judged.unrenewed, judged.expired, r.owner AS lost_owner,
        tally.crashes, tally.crashes >= r.max_crashes AND NOT judged.draining AS given_up
    FROM judged JOIN holdfast_run r ON r.id = judged.id CROSS JOIN LATERAL (
        SELECT CASE
            WHEN judged.draining THEN r.crashes
            WHEN r.crash_marker = judged.marker THEN r.crashes + 1
            ELSE 1
        END AS crashes
    ) AS tally
)
UPDATE holdfast_run r SET
    status = CASE WHEN counted.given_up THEN 'failed' ELSE 'queued' END,
    finished_at = CASE WHEN counted.given_up THEN holdfast_now() END,
    holds_thread = NOT counted.given_up,
    error = CASE WHEN counted.given_up THEN jsonb_build_object(
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
-- when the next bell is due though all are busy, so that a backlog costs the sweep one look at an index. Runs of
-- graphs that the ringing process does not know, of another deploy or of none, are left to those that do: nobody
-- would answer, and a thousand of them would leave no bell for the others. The lock, the transaction's, lets one
-- of all processes that ring for the same runs look at a time: with a hundred thousand due runs that takes a third
-- of a second, and a fleet of them would leave the server no time for the runs.
WITH gate AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(%(lock)s, hashtext(%(ringers)s)) AS open
), due AS MATERIALIZED (
    SELECT r.id FROM holdfast_run r
    WHERE (SELECT open FROM gate) AND r.status = 'queued' AND r.not_before <= (SELECT holdfast_now())
        AND coalesce(r.queue, %(default_queue)s) = ANY(%(queues)s)
        AND r.graph || '@' || r.version = ANY(%(known)s)
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
