-- An attempt from its claim on, as long as it executes: the lease is taken, renewed, and its timeline
-- written under it (ledger/attempts.py, ledger/timeline.py; R2, R4, R8, R12).

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
    SELECT t.id, t.backend, seen.deliveries
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
RETURNING r.*, EXISTS (SELECT FROM holdfast_entry e WHERE e.run_id = r.id) AS entered, thread.backend,
    (SELECT since FROM holdfast_incarnation) AS era;

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
