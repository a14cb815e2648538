-- What a connection is told, or asked, before anything else (connections/).

-- name: session_guard
-- The limits of R11 and the isolation of R2, where the server knows the setting.
SELECT set_config(s.name, v.value, false)
FROM (VALUES
    ('idle_in_transaction_session_timeout', %(idle)s::text),
    ('client_connection_check_interval', %(check)s::text),
    ('default_transaction_isolation', 'read committed')
) AS v (name, value)
JOIN pg_settings s ON s.name = v.name;

-- name: session_defaults
-- What a pooled session has without being told: nothing may be set there, as it is others' in a moment.
SELECT current_setting('default_transaction_isolation'), current_setting('idle_in_transaction_session_timeout');

-- name: session_plain_plans
-- Compiling takes longer than any statement of ours does (seen: a tenth of a second).
SET jit = off;

-- name: session_no_time_limits
-- What a role limits for the sake of its web requests: a checkpoint of 50 MB takes longer, and so does the wait for
-- another's lock, and neither is a reason for a run to fail. A worker that hangs is found by its lease.
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout') AND setting <> '0';

-- name: session_heartbeat
-- The session by which others know a process alive (R9), under the name by which `holdfast doctor` sees that somebody
-- beats and sweeps.
SELECT a.pid, a.backend_start, set_config('application_name', 'holdfast-heartbeat', false)
FROM pg_stat_activity a WHERE a.pid = pg_backend_pid();

-- name: session_alive
-- A beat of a process that executes nothing.
SELECT 1;

-- name: session_assume_role
-- What Django does with OPTIONS["assume_role"].
SELECT set_config('role', %(role)s::text, false);

-- name: session_resting
-- Which of these backends execute nothing: they are idle, or gone. One of another role, whose state nobody may
-- see, is not counted.
SELECT asked.pid
FROM unnest(%(pids)s::int[]) AS asked (pid) LEFT JOIN pg_stat_activity a ON a.pid = asked.pid
WHERE a.pid IS NULL OR a.state IN ('idle', 'idle in transaction', 'idle in transaction (aborted)');

-- name: session_pid
-- The session that executes this; behind a pooler it is not the one that was opened.
SELECT pg_backend_pid();

-- name: session_savepoint
-- Before what the caller's transaction is to outlive (connections/direct.py).
SAVEPOINT holdfast;

-- name: session_savepoint_rollback
-- As if that had not been tried.
ROLLBACK TO SAVEPOINT holdfast;

-- name: session_savepoint_release
-- It is behind us.
RELEASE SAVEPOINT holdfast;
