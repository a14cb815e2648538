-- The effect ledger: holdfast_effect, one row an effect. Every writing statement carries the fence
-- (R2) and returns how many rows it held. A row is begun, then done; in_doubt is what only an
-- at_most_once effect becomes, when nobody can know whether its body did its work (P4).

-- name: effect_begin
-- Announces an effect before its body runs. A keyed one that was begun before is announced again,
-- which counts its attempt; any other row that is there stays as it is, and `began` is false.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
      AND (%(era)s::timestamptz IS NULL
           OR EXISTS (SELECT FROM holdfast_incarnation WHERE since = %(era)s::timestamptz)
           OR %(entry_only)s::boolean AND EXISTS (SELECT FROM holdfast_entry WHERE run_id = %(run_id)s::uuid))
    FOR KEY SHARE
), announced AS (
    INSERT INTO holdfast_effect AS e
        (key, run_id, thread_id, task_id, function, call, kind, arguments_hash, arguments,
         state, attempts, answers, error, begun_at, token, checkpoint_id)
    SELECT %(key)s::text, fence.id, %(thread_id)s::text, %(task_id)s::text, %(function)s::text,
           %(call)s::int, %(kind)s::text, %(arguments_hash)s::text, %(arguments)s::text,
           'begun', 1, 0, '', holdfast_now(), %(token)s::uuid,
           (SELECT max(c.checkpoint_id) FROM checkpoints c
            WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = '')
    FROM fence
    ON CONFLICT (key) DO UPDATE SET attempts = e.attempts + 1, token = EXCLUDED.token
        WHERE EXCLUDED.kind = 'keyed' AND e.kind = 'keyed' AND e.state = 'begun'
          AND e.arguments_hash = EXCLUDED.arguments_hash
    RETURNING attempts
)
SELECT (SELECT count(*) FROM fence) AS holders, EXISTS (SELECT FROM announced) AS began,
       (SELECT attempts FROM announced) AS attempts;

-- name: effect_find
-- What the ledger says about one effect.
SELECT key, task_id, function, call, kind, arguments_hash, arguments, state, attempts, answers, error,
       result_type, result, token
FROM holdfast_effect WHERE key = %(key)s::text;

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
SELECT count(*) FROM fence;

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
SELECT count(*) FROM fence;

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
SELECT count(*) FROM fence;

-- name: effect_record
-- The last statement of a transactional effect's transaction: the fence, and the finished row. With
-- `recorded` false another transaction has recorded the effect, and this one must be rolled back.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run
    WHERE id = %(run_id)s::uuid AND token = %(token)s::uuid AND status = 'running'
      AND (%(era)s::timestamptz IS NULL
           OR EXISTS (SELECT FROM holdfast_incarnation WHERE since = %(era)s::timestamptz)
           OR %(entry_only)s::boolean AND EXISTS (SELECT FROM holdfast_entry WHERE run_id = %(run_id)s::uuid))
    FOR KEY SHARE
), recorded AS (
    INSERT INTO holdfast_effect
        (key, run_id, thread_id, task_id, function, call, kind, arguments_hash, arguments,
         state, attempts, answers, error, result_type, result, begun_at, done_at, token, checkpoint_id)
    SELECT %(key)s::text, fence.id, %(thread_id)s::text, %(task_id)s::text, %(function)s::text,
           %(call)s::int, %(kind)s::text, %(arguments_hash)s::text, %(arguments)s::text,
           'done', 1, 0, '', %(result_type)s::text, %(result)s::bytea,
           transaction_timestamp(), holdfast_now(), %(token)s::uuid,
           (SELECT max(c.checkpoint_id) FROM checkpoints c
            WHERE c.thread_id = %(thread_id)s::text AND c.checkpoint_ns = '')
    FROM fence
    ON CONFLICT (key) DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM fence) AS holders, EXISTS (SELECT FROM recorded) AS recorded;

-- name: effect_isolation
-- The first statement of that transaction: the fence is only right at READ COMMITTED (R2).
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;

-- name: effect_idle_limit
-- How long the transaction may idle (R11), for this transaction only.
SELECT set_config('idle_in_transaction_session_timeout', %(idle)s::text, true);
