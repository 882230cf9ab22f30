-- Questions follow a visit whose number was changed, as they follow patients. Beside that, what
-- the ledger keeps: the visits of an account, and how often a message came again.

ALTER TABLE messages ADD COLUMN duplicates INTEGER DEFAULT 0 NOT NULL;
COMMENT ON COLUMN messages.duplicates IS 'how often it came again';
COMMENT ON COLUMN messages.reason IS 'why ignored, dead or left out in part; never a patient''s data';
GRANT UPDATE (duplicates) ON messages TO wt_worker;

CREATE TABLE visit_accounts (
    tenant_id UUID NOT NULL,
    account_id UUID NOT NULL,
    admission_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_visit_accounts PRIMARY KEY (account_id, admission_id, patient_id)
);
COMMENT ON COLUMN visit_accounts.account_id IS 'what a visit by the account''s number would have as its id';
COMMENT ON COLUMN visit_accounts.patient_id IS 'as told with both';
CREATE INDEX idx_visit_accounts_tenant ON visit_accounts (tenant_id, patient_id);

GRANT SELECT, INSERT ON visit_accounts TO wt_worker;
GRANT SELECT ON visit_accounts TO wt_app, wt_definer;
ALTER TABLE visit_accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE visit_accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON visit_accounts TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON visit_accounts TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT CREATE ON SCHEMA public TO wt_definer;

-- The visit as which one went on by then; itself where its number hadn't changed.
CREATE FUNCTION wt_visit(p_admission uuid, p_known_at timestamptz) RETURNS uuid
    LANGUAGE sql STABLE AS $$
    WITH RECURSIVE way (admission_id, step) AS (
        SELECT p_admission, 0
        UNION ALL
        SELECT alias.into_admission_id, way.step + 1
        FROM way JOIN public.admission_aliases AS alias ON alias.admission_id = way.admission_id
        WHERE alias.tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
          AND (p_known_at IS NULL OR alias.recorded_at <= p_known_at)
    ) CYCLE admission_id SET ring USING passed
    SELECT admission_id FROM way WHERE NOT ring ORDER BY step DESC LIMIT 1
$$;

-- The stays of a visit, or of all visits of a patient; of both, where both are named.
CREATE OR REPLACE FUNCTION wt_asked(p_admission uuid, p_patient uuid, p_known_at timestamptz)
    RETURNS SETOF wt_stay LANGUAGE sql STABLE AS $$
    SELECT stay.* FROM public.wt_known(p_known_at) AS stay
    WHERE stay.admission_id = (SELECT public.wt_visit(p_admission, p_known_at))
      AND (p_patient IS NULL
           OR stay.patient_id = ANY (ARRAY(SELECT public.wt_patients(p_patient, p_known_at))))
    UNION ALL
    SELECT stay.* FROM public.wt_known(p_known_at) AS stay
    WHERE p_admission IS NULL
      AND stay.patient_id = ANY (ARRAY(SELECT public.wt_patients(p_patient, p_known_at)))
$$;

-- Who shared a room or a ward with a visit, from when to when. Times that touch are one contact.
-- A visit that has no physical stays was where its census has it.
CREATE OR REPLACE FUNCTION wt_contacts(
    p_admission uuid, p_level text DEFAULT 'room', p_known_at timestamptz DEFAULT NULL,
    p_track text DEFAULT 'physical'
) RETURNS SETOF wt_contact
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_admission uuid := public.wt_visit(p_admission, p_known_at);
BEGIN
    RETURN QUERY
    WITH mine AS MATERIALIZED (
        SELECT stay.* FROM public.wt_known(p_known_at) AS stay
        WHERE stay.admission_id = v_admission AND stay.track <> 'planned'
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
        WHERE other.admission_id <> v_admission
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

ALTER FUNCTION wt_visit(uuid, timestamptz) OWNER TO wt_definer;
REVOKE ALL ON FUNCTION wt_visit FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM wt_definer;
