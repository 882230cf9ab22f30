-- Read models and tenants: what is derived, and for whom.

CREATE TABLE admission_facts (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    facts JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_admission_facts PRIMARY KEY (id)
);
COMMENT ON COLUMN admission_facts.id IS 'the admission''s';
CREATE INDEX idx_admission_facts_tenant ON admission_facts (tenant_id);

CREATE TABLE admission_read_models (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    data JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_admission_read_models PRIMARY KEY (id)
);
CREATE INDEX idx_admission_patient ON admission_read_models (patient_id);
CREATE INDEX idx_admission_tenant ON admission_read_models (tenant_id);

CREATE TABLE flightplan_read_models (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    admission_id UUID NOT NULL,
    data JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_flightplan_read_models PRIMARY KEY (id)
);
CREATE INDEX idx_flightplan_admission ON flightplan_read_models (admission_id);
CREATE INDEX idx_flightplan_tenant ON flightplan_read_models (tenant_id);

CREATE TABLE patient_read_models (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    data JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_patient_read_models PRIMARY KEY (id)
);
CREATE INDEX idx_patient_tenant ON patient_read_models (tenant_id);

CREATE TABLE tenants (
    id UUID NOT NULL,
    name VARCHAR(255) NOT NULL,
    subdomain VARCHAR(100),
    plan VARCHAR(50),
    is_active BOOLEAN DEFAULT true NOT NULL,
    features JSONB DEFAULT '{}' NOT NULL,
    enabled_specialties JSONB DEFAULT '[]' NOT NULL,
    branding JSONB DEFAULT '{}' NOT NULL,
    integrations JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_tenants PRIMARY KEY (id),
    CONSTRAINT uq_tenants_subdomain UNIQUE (subdomain)
);
CREATE INDEX idx_tenants_active ON tenants (is_active);

CREATE TABLE timeline_events (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    admission_id UUID NOT NULL,
    event_type VARCHAR(200) NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    data JSONB NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_timeline_events PRIMARY KEY (id)
);
CREATE INDEX idx_timeline_admission ON timeline_events (admission_id);
CREATE INDEX idx_timeline_occurred ON timeline_events (occurred_at);
CREATE INDEX idx_timeline_tenant ON timeline_events (tenant_id);

CREATE TABLE trajectory_facts (
    event_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    admission_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    feed_id UUID NOT NULL,
    message_id UUID NOT NULL,
    event_type VARCHAR(200) NOT NULL,
    effective_at TIMESTAMP WITH TIME ZONE NOT NULL,
    effective_field VARCHAR(20) NOT NULL,
    reported_at TIMESTAMP WITH TIME ZONE,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    place TEXT,
    prior_place TEXT,
    temporary_place TEXT,
    prior_temporary_place TEXT,
    pending_place TEXT,
    planned_place TEXT,
    plan VARCHAR(20),
    expected_at TIMESTAMP WITH TIME ZONE,
    patient_class TEXT,
    movement_id UUID,
    movement_historic BOOLEAN NOT NULL,
    original_trigger TEXT,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_trajectory_facts PRIMARY KEY (event_id)
);
COMMENT ON COLUMN trajectory_facts.place IS 'none: not said; empty: said to be unknown';
CREATE INDEX idx_trajectory_facts_admission ON trajectory_facts (admission_id);
CREATE INDEX idx_trajectory_facts_tenant ON trajectory_facts (tenant_id);

CREATE TABLE trajectory_points (
    id UUID NOT NULL,
    point_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    admission_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    track VARCHAR(10) NOT NULL,
    location TEXT NOT NULL,
    facility TEXT NOT NULL,
    building TEXT NOT NULL,
    floor TEXT NOT NULL,
    point_of_care TEXT NOT NULL,
    room TEXT NOT NULL,
    bed TEXT NOT NULL,
    effective_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    effective TSTZRANGE GENERATED ALWAYS AS (tstzrange(effective_at, ended_at)) STORED,
    known_from TIMESTAMP WITH TIME ZONE NOT NULL,
    known_to TIMESTAMP WITH TIME ZONE,
    known TSTZRANGE GENERATED ALWAYS AS (tstzrange(known_from, known_to)) STORED,
    retracted_at TIMESTAMP WITH TIME ZONE,
    start_inferred BOOLEAN NOT NULL,
    end_inferred BOOLEAN NOT NULL,
    start_field VARCHAR(20) NOT NULL,
    reported_at TIMESTAMP WITH TIME ZONE,
    start_event_id UUID NOT NULL,
    end_event_id UUID,
    fold_version SMALLINT NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    data JSONB NOT NULL,
    CONSTRAINT pk_trajectory_points PRIMARY KEY (id),
    CONSTRAINT ck_trajectory_points_track CHECK (track IN ('census', 'physical', 'planned')),
    CONSTRAINT ck_trajectory_points_no_zero_length CHECK (ended_at > effective_at),
    CONSTRAINT ck_trajectory_points_known_rises CHECK (known_to > known_from)
);
COMMENT ON COLUMN trajectory_points.id IS 'of the point at this revision';
COMMENT ON COLUMN trajectory_points.location IS 'PV1-3 as sent';
COMMENT ON COLUMN trajectory_points.facility IS 'of the place; empty: not said';
COMMENT ON COLUMN trajectory_points.building IS 'of the place; empty: not said';
COMMENT ON COLUMN trajectory_points.floor IS 'of the place; empty: not said';
COMMENT ON COLUMN trajectory_points.point_of_care IS 'of the place; empty: not said';
COMMENT ON COLUMN trajectory_points.room IS 'of the place; empty: not said';
COMMENT ON COLUMN trajectory_points.bed IS 'of the place; empty: not said';
CREATE INDEX idx_trajectory_admission ON trajectory_points (admission_id);
CREATE UNIQUE INDEX idx_trajectory_current ON trajectory_points (point_id) WHERE known_to IS NULL;
CREATE INDEX idx_trajectory_effective ON trajectory_points (effective_at);
CREATE INDEX idx_trajectory_revision ON trajectory_points (partition, partition_seq);
CREATE INDEX idx_trajectory_tenant ON trajectory_points (tenant_id);

CREATE TABLE feeds (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    name VARCHAR(100) NOT NULL,
    protocol VARCHAR(20) DEFAULT 'mllp' NOT NULL,
    port INTEGER,
    zone VARCHAR(64) DEFAULT 'UTC' NOT NULL,
    charset VARCHAR(32),
    authority VARCHAR(200) DEFAULT '' NOT NULL,
    identifier_types JSONB DEFAULT '["MR", "MRN", "PI", "PT"]' NOT NULL,
    processing_ids JSONB DEFAULT '["P"]' NOT NULL,
    senders JSONB DEFAULT '[]' NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_feeds PRIMARY KEY (id),
    CONSTRAINT uq_feeds_tenant_id_name UNIQUE (tenant_id, name),
    CONSTRAINT fk_feeds_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
);
COMMENT ON COLUMN feeds.port IS 'the listener; none for the default listener';
COMMENT ON COLUMN feeds.zone IS 'IANA name';
COMMENT ON COLUMN feeds.charset IS 'overrides MSH-18';

CREATE TABLE tenant_keys (
    tenant_id UUID NOT NULL,
    purpose VARCHAR(20) NOT NULL,
    version INTEGER NOT NULL,
    wrapped BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_tenant_keys PRIMARY KEY (tenant_id, purpose, version),
    CONSTRAINT ck_tenant_keys_purpose CHECK (purpose IN ('data', 'identity')),
    CONSTRAINT ck_tenant_keys_identity_once CHECK (purpose = 'data' OR version = 1),
    CONSTRAINT fk_tenant_keys_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
);
COMMENT ON COLUMN tenant_keys.wrapped IS 'sealed by the root key';

GRANT SELECT, INSERT, UPDATE ON admission_facts TO wt_worker;
GRANT SELECT ON admission_facts TO wt_app, wt_definer;
ALTER TABLE admission_facts ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission_facts FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON admission_facts TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON admission_facts TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON admission_read_models TO wt_worker;
GRANT SELECT ON admission_read_models TO wt_app, wt_definer;
ALTER TABLE admission_read_models ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission_read_models FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON admission_read_models TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON admission_read_models TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON flightplan_read_models TO wt_worker;
GRANT SELECT ON flightplan_read_models TO wt_app, wt_definer;
ALTER TABLE flightplan_read_models ENABLE ROW LEVEL SECURITY;
ALTER TABLE flightplan_read_models FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON flightplan_read_models TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON flightplan_read_models TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON patient_read_models TO wt_worker;
GRANT SELECT ON patient_read_models TO wt_app, wt_definer;
ALTER TABLE patient_read_models ENABLE ROW LEVEL SECURITY;
ALTER TABLE patient_read_models FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON patient_read_models TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON patient_read_models TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON tenants TO wt_worker;
GRANT SELECT ON tenants TO wt_app, wt_definer;
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON tenants TO wt_worker
    USING (id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON tenants TO wt_app
    USING (id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON timeline_events TO wt_worker;
GRANT SELECT ON timeline_events TO wt_app, wt_definer;
ALTER TABLE timeline_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE timeline_events FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON timeline_events TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON timeline_events TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON trajectory_facts TO wt_worker;
GRANT SELECT ON trajectory_facts TO wt_app, wt_definer;
ALTER TABLE trajectory_facts ENABLE ROW LEVEL SECURITY;
ALTER TABLE trajectory_facts FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON trajectory_facts TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON trajectory_facts TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON trajectory_points TO wt_worker;
GRANT SELECT ON trajectory_points TO wt_app, wt_definer;
ALTER TABLE trajectory_points ENABLE ROW LEVEL SECURITY;
ALTER TABLE trajectory_points FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON trajectory_points TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON trajectory_points TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON feeds TO wt_worker;
GRANT SELECT ON feeds TO wt_app, wt_definer;
ALTER TABLE feeds ENABLE ROW LEVEL SECURITY;
ALTER TABLE feeds FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON feeds TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON feeds TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT ON tenant_keys TO wt_worker;
GRANT SELECT ON tenant_keys TO wt_app;
ALTER TABLE tenant_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON tenant_keys TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON tenant_keys TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

-- Workers ask which tenants there are before they can name them; suspended ones have rows too.
GRANT CREATE ON SCHEMA public TO wt_definer;
CREATE FUNCTION tenant_ids() RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT id FROM public.tenants ORDER BY id';
ALTER FUNCTION tenant_ids() OWNER TO wt_definer;
REVOKE ALL ON FUNCTION tenant_ids() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenant_ids() TO wt_worker;
REVOKE CREATE ON SCHEMA public FROM wt_definer;

-- An update that names another bed than we know (rule T8): a question over facts, not an event.
CREATE VIEW location_discrepancies WITH (security_invoker = true, security_barrier = true) AS
    SELECT fact.tenant_id, fact.admission_id, fact.event_id, fact.effective_at,
           fact.place AS said, point.location AS known
    FROM trajectory_facts AS fact
    LEFT JOIN trajectory_points AS point
           ON point.admission_id = fact.admission_id AND point.track = 'census'
          AND point.known_to IS NULL AND point.retracted_at IS NULL
          AND point.effective_at <= fact.effective_at
          AND (point.ended_at IS NULL OR fact.effective_at < point.ended_at)
    WHERE fact.event_type = 'admission.updated'
      AND fact.place IS NOT NULL AND fact.place IS DISTINCT FROM point.location;
GRANT SELECT ON location_discrepancies TO wt_app, wt_worker;
