-- Single flight (P5): holdfast_node_flight says who computes which value of the node cache at the moment. A flight
-- begins with its leader's computing and ends when the value is stored (cache_set) or the leader fails; the
-- rows of leaders that died are taken over. Leaders and those who wait know each other only by these rows.
--
-- A leader is alive as long as its run is under the token that it began with, and the run's lease, or the
-- flight's own for a process without heartbeat, has not run out. So a killed worker's flights are free when the
-- sweep has found its runs (R9), and a frozen one's after LEASE seconds.

-- name: flight_lead
-- Begins a flight, or takes over one whose leader has died; a lead whose commit got no answer is the holder's own
-- (R3). Counts whether the run is still the caller's (R2), and whether he leads now. A flight of this very second is
-- nobody's to take: the claim of its run may be younger than this statement's view of the runs.
WITH fence AS MATERIALIZED (
    SELECT id FROM holdfast_run WHERE id = %(run_id)s AND token = %(token)s AND status = 'running'
), led AS (
    INSERT INTO holdfast_node_flight AS f (
        slot, namespace, key, version, holder, run_id, token, begun_at, renewed_at, waits_for
    )
    SELECT %(slot)s, ARRAY(SELECT jsonb_array_elements_text(%(namespace)s::jsonb))::text[], %(key)s, %(version)s,
           %(holder)s, fence.id, %(token)s, holdfast_now(), holdfast_now(), '{}'
    FROM fence
    ON CONFLICT (slot) DO UPDATE
    SET namespace = EXCLUDED.namespace, key = EXCLUDED.key, version = EXCLUDED.version, holder = EXCLUDED.holder,
        run_id = EXCLUDED.run_id, token = EXCLUDED.token, begun_at = EXCLUDED.begun_at,
        renewed_at = EXCLUDED.renewed_at, waits_for = EXCLUDED.waits_for
    WHERE f.holder = EXCLUDED.holder OR (
        f.begun_at < holdfast_now() - interval '1 second'
        AND NOT EXISTS (
            SELECT FROM holdfast_run r
            WHERE r.id = f.run_id AND r.token = f.token AND r.status = 'running'
              AND greatest(
                  r.renewed_at, f.renewed_at, pg_postmaster_start_time(),
                  (SELECT since FROM holdfast_incarnation)
              ) >= holdfast_now() - make_interval(secs => %(lease)s)
        )
    )
    RETURNING 1
)
SELECT (SELECT count(*) FROM fence), (SELECT count(*) FROM led);

-- name: flight_release
-- Ends a flight without a value.
WITH released AS (
    DELETE FROM holdfast_node_flight WHERE slot = %(slot)s AND holder = %(holder)s RETURNING 1
)
SELECT count(*) FROM released;

-- name: flight_renew
-- Renews the leases of a process's flights.
WITH renewed AS (
    UPDATE holdfast_node_flight SET renewed_at = holdfast_now() WHERE holder = ANY(%(holders)s::uuid[]) RETURNING 1
)
SELECT count(*) FROM renewed;

-- name: flight_look
-- For those who wait: the slots for which that is over, since the value is there or nobody computes it.
SELECT w.slot
FROM unnest(%(slots)s::bigint[], %(digests)s::bytea[]) AS w (slot, digest)
WHERE EXISTS (
    SELECT FROM holdfast_node_cache e
    WHERE e.slot = w.slot AND e.digest = w.digest
      AND (e.expires_at IS NULL OR e.expires_at > (SELECT holdfast_now()))
) OR NOT EXISTS (
    SELECT FROM holdfast_node_flight f
    LEFT JOIN holdfast_run r ON r.id = f.run_id AND r.token = f.token AND r.status = 'running'
    WHERE f.slot = w.slot AND (
        f.begun_at >= (SELECT holdfast_now()) - interval '1 second'
        OR greatest(
            r.renewed_at, f.renewed_at, pg_postmaster_start_time(), (SELECT since FROM holdfast_incarnation)
        ) >= (SELECT holdfast_now()) - make_interval(secs => %(lease)s) AND r.id IS NOT NULL
    )
);

-- name: flight_wait
-- Notes that what is computed in these flights waits for that one.
WITH noted AS (
    UPDATE holdfast_node_flight SET waits_for = array_append(waits_for, %(slot)s::bigint)
    WHERE holder = ANY(%(inside)s::uuid[]) AND NOT %(slot)s::bigint = ANY(waits_for)
    RETURNING 1
)
SELECT count(*) FROM noted;

-- name: flight_circle
-- Whether that flight, or one that it waits for, waits for one of these: then waiting would last for ever.
WITH RECURSIVE ahead (slot) AS (
    SELECT %(slot)s::bigint
    UNION
    SELECT unnest(f.waits_for) FROM ahead JOIN holdfast_node_flight f ON f.slot = ahead.slot
)
SELECT EXISTS (
    SELECT FROM ahead JOIN holdfast_node_flight f ON f.slot = ahead.slot
    WHERE f.holder = ANY(%(inside)s::uuid[])
);
