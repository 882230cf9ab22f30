-- Questions: where somebody was, whole paths, who stood in a ward, who met whom, each as known
-- at any instant. Row-level security would take the indexes away, so these run as wt_definer,
-- which passes it, and hold the tenant's predicate themselves: closed while wt.tenant is unset.

CREATE INDEX idx_trajectory_patient ON trajectory_points (patient_id);
CREATE INDEX idx_trajectory_ward ON trajectory_points (tenant_id, point_of_care, track, effective_at, ended_at) WHERE ((known_to IS NULL) AND (retracted_at IS NULL) AND ((ended_at - effective_at) <= '720:00:00'::interval));
CREATE INDEX idx_trajectory_ward_long ON trajectory_points (tenant_id, point_of_care, track, COALESCE(ended_at, 'infinity'::timestamp with time zone), effective_at) WHERE ((known_to IS NULL) AND (retracted_at IS NULL) AND (((ended_at - effective_at) <= '720:00:00'::interval) IS NOT TRUE));
CREATE INDEX idx_trajectory_ward_before ON trajectory_points (tenant_id, point_of_care, track, known_to, known_from, effective_at) WHERE ((known_to IS NOT NULL) AND (retracted_at IS NULL));
CREATE INDEX idx_trajectory_facts_feed ON trajectory_facts (feed_id, recorded_at);

CREATE TYPE wt_stay AS (
    point_id UUID,
    admission_id UUID,
    patient_id UUID,
    track TEXT,
    location TEXT,
    facility TEXT,
    building TEXT,
    floor TEXT,
    point_of_care TEXT,
    room TEXT,
    bed TEXT,
    effective_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    start_inferred BOOLEAN,
    end_inferred BOOLEAN,
    start_field TEXT,
    reported_at TIMESTAMP WITH TIME ZONE,
    start_event_id UUID,
    message_id UUID,
    known_from TIMESTAMP WITH TIME ZONE,
    known_to TIMESTAMP WITH TIME ZONE,
    fold_version SMALLINT,
    partition_seq BIGINT
);
CREATE TYPE wt_contact AS (
    admission_id UUID,
    patient_id UUID,
    level TEXT,
    point_of_care TEXT,
    room TEXT,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    seconds BIGINT
);

GRANT CREATE ON SCHEMA public TO wt_definer;

-- What the questions share. These four pin no search path and are no definers, so that the
-- planner takes them apart into the question that asks; nobody but wt_definer may call them.

-- The tenant's stays at the revisions that were known then; none: as known now.
CREATE FUNCTION wt_known(p_known_at timestamptz) RETURNS SETOF wt_stay LANGUAGE sql STABLE AS $$
    SELECT point.point_id, point.admission_id, point.patient_id, point.track::text, point.location,
           point.facility, point.building, point.floor, point.point_of_care, point.room, point.bed,
           point.effective_at, point.ended_at, point.start_inferred, point.end_inferred,
           point.start_field::text, point.reported_at, point.start_event_id, fact.message_id,
           point.known_from, point.known_to, point.fold_version, point.partition_seq
    FROM (
        SELECT * FROM public.trajectory_points
        WHERE tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
          AND retracted_at IS NULL AND known_to IS NULL
          AND known_from <= coalesce(p_known_at, 'infinity'::timestamptz)
        UNION ALL
        SELECT * FROM public.trajectory_points
        WHERE tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
          AND retracted_at IS NULL AND known_to > p_known_at AND known_from <= p_known_at
    ) AS point
    LEFT JOIN public.trajectory_facts AS fact
           ON fact.event_id = point.start_event_id AND fact.tenant_id = point.tenant_id
$$;

-- Stays in a ward that overlap a time, both its ends included, as they were known then. One that
-- lasted at most 30 days began at most so long before: that bounds what is read of a long history.
CREATE FUNCTION wt_near(
    p_ward text, p_tracks text[], p_from timestamptz, p_to timestamptz, p_known_at timestamptz
) RETURNS SETOF wt_stay LANGUAGE sql STABLE AS $$
    SELECT point.point_id, point.admission_id, point.patient_id, point.track::text, point.location,
           point.facility, point.building, point.floor, point.point_of_care, point.room, point.bed,
           point.effective_at, point.ended_at, point.start_inferred, point.end_inferred,
           point.start_field::text, point.reported_at, point.start_event_id, fact.message_id,
           point.known_from, point.known_to, point.fold_version, point.partition_seq
    FROM (
        SELECT * FROM public.trajectory_points
        WHERE tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
          AND point_of_care = p_ward AND track = ANY (p_tracks)
          AND retracted_at IS NULL AND known_to IS NULL
          AND known_from <= coalesce(p_known_at, 'infinity'::timestamptz)
          AND ended_at - effective_at <= interval '720 hours'
          AND effective_at > p_from - interval '720 hours' AND effective_at <= p_to
          AND ended_at > p_from
        UNION ALL
        SELECT * FROM public.trajectory_points
        WHERE tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
          AND point_of_care = p_ward AND track = ANY (p_tracks)
          AND retracted_at IS NULL AND known_to IS NULL
          AND known_from <= coalesce(p_known_at, 'infinity'::timestamptz)
          AND (ended_at - effective_at <= interval '720 hours') IS NOT TRUE
          AND coalesce(ended_at, 'infinity'::timestamptz) > p_from AND effective_at <= p_to
        UNION ALL
        SELECT * FROM public.trajectory_points
        WHERE tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
          AND point_of_care = p_ward AND track = ANY (p_tracks)
          AND retracted_at IS NULL AND known_to > p_known_at AND known_from <= p_known_at
          AND coalesce(ended_at, 'infinity'::timestamptz) > p_from AND effective_at <= p_to
    ) AS point
    LEFT JOIN public.trajectory_facts AS fact
           ON fact.event_id = point.start_event_id AND fact.tenant_id = point.tenant_id
$$;

-- The patient and everybody who was the same one then, by aliases in either direction.
CREATE FUNCTION wt_patients(p_patient uuid, p_known_at timestamptz) RETURNS SETOF uuid
    LANGUAGE sql STABLE AS $$
    WITH RECURSIVE same (patient_id) AS (
        SELECT p_patient
        UNION
        SELECT alias.other
        FROM same CROSS JOIN LATERAL (
            SELECT into_patient_id AS other, recorded_at, undone_at
            FROM public.patient_aliases
            WHERE patient_aliases.patient_id = same.patient_id
              AND tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
            UNION ALL
            SELECT patient_aliases.patient_id, recorded_at, undone_at
            FROM public.patient_aliases
            WHERE into_patient_id = same.patient_id
              AND tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
        ) AS alias
        WHERE CASE WHEN p_known_at IS NULL THEN alias.undone_at IS NULL
              ELSE alias.recorded_at <= p_known_at
               AND (alias.undone_at IS NULL OR alias.undone_at > p_known_at) END
    )
    SELECT patient_id FROM same
$$;

-- The stays of a visit, or of all visits of a patient; of both, where both are named.
CREATE FUNCTION wt_asked(p_admission uuid, p_patient uuid, p_known_at timestamptz)
    RETURNS SETOF wt_stay LANGUAGE sql STABLE AS $$
    SELECT stay.* FROM public.wt_known(p_known_at) AS stay
    WHERE stay.admission_id = p_admission
      AND (p_patient IS NULL
           OR stay.patient_id = ANY (ARRAY(SELECT public.wt_patients(p_patient, p_known_at))))
    UNION ALL
    SELECT stay.* FROM public.wt_known(p_known_at) AS stay
    WHERE p_admission IS NULL
      AND stay.patient_id = ANY (ARRAY(SELECT public.wt_patients(p_patient, p_known_at)))
$$;

-- Where a visit or a patient was, by the bed that was theirs (census) and in the flesh (physical).
CREATE FUNCTION wt_where(
    p_admission uuid DEFAULT NULL, p_patient uuid DEFAULT NULL,
    p_at timestamptz DEFAULT NULL, p_known_at timestamptz DEFAULT NULL
) RETURNS SETOF wt_stay
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT stay.* FROM public.wt_asked(p_admission, p_patient, p_known_at) AS stay
    WHERE stay.track IN ('census', 'physical')
      AND stay.effective_at <= coalesce(p_at, now())
      AND coalesce(stay.ended_at, 'infinity'::timestamptz) > coalesce(p_at, now())
    ORDER BY stay.track, stay.effective_at, stay.admission_id, stay.point_id;
END
$$;

-- Every stay in order; on one track, if it is named.
CREATE FUNCTION wt_path(
    p_admission uuid DEFAULT NULL, p_patient uuid DEFAULT NULL,
    p_known_at timestamptz DEFAULT NULL, p_track text DEFAULT NULL
) RETURNS SETOF wt_stay
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT stay.* FROM public.wt_asked(p_admission, p_patient, p_known_at) AS stay
    WHERE p_track IS NULL OR stay.track = p_track
    ORDER BY stay.track, stay.effective_at, stay.admission_id, stay.point_id;
END
$$;

-- Who was in a ward (a point of care) at an instant.
CREATE FUNCTION wt_census(
    p_ward text, p_at timestamptz DEFAULT NULL, p_known_at timestamptz DEFAULT NULL,
    p_track text DEFAULT 'census'
) RETURNS SETOF wt_stay
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT stay.*
    FROM public.wt_near(p_ward, ARRAY[p_track], coalesce(p_at, now()), coalesce(p_at, now()),
                        p_known_at) AS stay
    ORDER BY stay.facility, stay.room, stay.bed, stay.effective_at, stay.point_id;
END
$$;

-- Who shared a room or a ward with a visit, from when to when. Times that touch are one contact.
-- A visit that has no physical stays was where its census has it.
CREATE FUNCTION wt_contacts(
    p_admission uuid, p_level text DEFAULT 'room', p_known_at timestamptz DEFAULT NULL,
    p_track text DEFAULT 'physical'
) RETURNS SETOF wt_contact
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH mine AS MATERIALIZED (
        SELECT stay.* FROM public.wt_known(p_known_at) AS stay
        WHERE stay.admission_id = p_admission AND stay.track <> 'planned'
    ), own AS MATERIALIZED (
        SELECT mine.* FROM mine
        WHERE mine.track = CASE
            WHEN p_track = 'physical' AND NOT EXISTS (SELECT FROM mine WHERE track = 'physical')
            THEN 'census' ELSE p_track END
          AND CASE p_level WHEN 'room' THEN mine.room WHEN 'ward' THEN mine.point_of_care END <> ''
    ), myself AS MATERIALIZED (
        SELECT DISTINCT same.patient_id
        FROM (SELECT DISTINCT patient_id FROM mine) AS told
        CROSS JOIN LATERAL public.wt_patients(told.patient_id, p_known_at) AS same (patient_id)
    ), near AS MATERIALIZED (
        -- OFFSET 0 keeps the planner from taking this apart: the index is asked stay by stay.
        SELECT other.admission_id, other.patient_id, other.track,
               own.facility, own.building, own.floor, own.point_of_care,
               CASE p_level WHEN 'room' THEN own.room ELSE '' END AS room,
               tstzrange(greatest(own.effective_at, other.effective_at),
                         least(own.ended_at, other.ended_at)) AS span
        FROM own CROSS JOIN LATERAL (
            SELECT stay.*
            FROM public.wt_near(
                own.point_of_care,
                ARRAY[p_track, CASE p_track WHEN 'physical' THEN 'census' END],
                own.effective_at, coalesce(own.ended_at, 'infinity'::timestamptz), p_known_at
            ) AS stay
            WHERE stay.effective_at < coalesce(own.ended_at, 'infinity'::timestamptz)
            OFFSET 0
        ) AS other
        WHERE other.admission_id <> p_admission
          AND (other.facility, other.building, other.floor)
            = (own.facility, own.building, own.floor)
          AND (p_level = 'ward' OR other.room = own.room)
          AND other.patient_id NOT IN (SELECT patient_id FROM myself)
    ), census_only AS MATERIALIZED (
        SELECT visit.admission_id
        FROM (SELECT DISTINCT admission_id FROM near WHERE track <> p_track) AS visit
        CROSS JOIN LATERAL (
            SELECT count(*) AS stays FROM public.wt_known(p_known_at) AS stay
            WHERE stay.admission_id = visit.admission_id AND stay.track = 'physical'
            OFFSET 0
        ) AS physical
        WHERE physical.stays = 0
    ), met AS (
        SELECT admission_id, patient_id, facility, building, floor, point_of_care, room,
               range_agg(span) AS spans
        FROM near
        WHERE track = p_track OR admission_id IN (SELECT admission_id FROM census_only)
        GROUP BY 1, 2, 3, 4, 5, 6, 7
    )
    SELECT met.admission_id, met.patient_id, p_level, met.point_of_care, met.room,
           lower(span), upper(span),
           extract(epoch FROM upper(span) - lower(span))::bigint
    FROM met CROSS JOIN LATERAL unnest(met.spans) AS span
    ORDER BY lower(span), met.admission_id, met.point_of_care, met.room;
END
$$;

ALTER FUNCTION wt_known(timestamptz) OWNER TO wt_definer;
ALTER FUNCTION wt_near(text, text[], timestamptz, timestamptz, timestamptz) OWNER TO wt_definer;
ALTER FUNCTION wt_patients(uuid, timestamptz) OWNER TO wt_definer;
ALTER FUNCTION wt_asked(uuid, uuid, timestamptz) OWNER TO wt_definer;
ALTER FUNCTION wt_where(uuid, uuid, timestamptz, timestamptz) OWNER TO wt_definer;
ALTER FUNCTION wt_path(uuid, uuid, timestamptz, text) OWNER TO wt_definer;
ALTER FUNCTION wt_census(text, timestamptz, timestamptz, text) OWNER TO wt_definer;
ALTER FUNCTION wt_contacts(uuid, text, timestamptz, text) OWNER TO wt_definer;
REVOKE ALL ON FUNCTION
    wt_known, wt_near, wt_patients, wt_asked, wt_where, wt_path, wt_census, wt_contacts
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION wt_where, wt_path, wt_census, wt_contacts TO wt_app;
REVOKE CREATE ON SCHEMA public FROM wt_definer;
