-- Aliases: what was told of two patients (merged, parted again), who is whom since, and which
-- visit goes on under another number.

CREATE TABLE patient_merges (
    event_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    into_patient_id UUID NOT NULL,
    kind VARCHAR(10) NOT NULL,
    said_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_patient_merges PRIMARY KEY (event_id),
    CONSTRAINT ck_patient_merges_kind CHECK (kind IN ('merge', 'move', 'change', 'undo')),
    CONSTRAINT ck_patient_merges_of_two CHECK (patient_id <> into_patient_id)
);
COMMENT ON COLUMN patient_merges.patient_id IS 'as told; who was merged';
COMMENT ON COLUMN patient_merges.into_patient_id IS 'as told; into whom';
COMMENT ON COLUMN patient_merges.said_at IS 'reported, else occurred';
CREATE INDEX idx_patient_merges_into ON patient_merges (into_patient_id);
CREATE INDEX idx_patient_merges_patient ON patient_merges (patient_id);
CREATE INDEX idx_patient_merges_tenant ON patient_merges (tenant_id);

CREATE TABLE patient_aliases (
    tenant_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    into_patient_id UUID NOT NULL,
    event_id UUID NOT NULL,
    kind VARCHAR(10) NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    undone_at TIMESTAMP WITH TIME ZONE,
    undone_event_id UUID,
    CONSTRAINT pk_patient_aliases PRIMARY KEY (tenant_id, patient_id, recorded_at),
    CONSTRAINT ck_patient_aliases_kind CHECK (kind IN ('merge', 'move', 'change')),
    CONSTRAINT ck_patient_aliases_of_two CHECK (patient_id <> into_patient_id),
    CONSTRAINT ck_patient_aliases_known_rises CHECK (undone_at > recorded_at)
);
COMMENT ON COLUMN patient_aliases.patient_id IS 'who is another; streams keep this id';
COMMENT ON COLUMN patient_aliases.into_patient_id IS 'who may be another again';
COMMENT ON COLUMN patient_aliases.event_id IS 'the merge that it follows from';
COMMENT ON COLUMN patient_aliases.undone_event_id IS 'by which it is none, or another one';
CREATE UNIQUE INDEX idx_patient_aliases_current ON patient_aliases (patient_id) WHERE undone_at IS NULL;
CREATE INDEX idx_patient_aliases_into ON patient_aliases (into_patient_id);
CREATE INDEX idx_patient_aliases_patient ON patient_aliases (patient_id);

CREATE TABLE admission_aliases (
    tenant_id UUID NOT NULL,
    admission_id UUID NOT NULL,
    into_admission_id UUID NOT NULL,
    event_id UUID NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_admission_aliases PRIMARY KEY (admission_id),
    CONSTRAINT ck_admission_aliases_of_two CHECK (admission_id <> into_admission_id)
);
COMMENT ON COLUMN admission_aliases.admission_id IS 'by the visit''s former number';
COMMENT ON COLUMN admission_aliases.into_admission_id IS 'as which the visit goes on';
CREATE INDEX idx_admission_aliases_into ON admission_aliases (into_admission_id);
CREATE INDEX idx_admission_aliases_tenant ON admission_aliases (tenant_id);

GRANT SELECT, INSERT ON patient_merges TO wt_worker;
GRANT SELECT ON patient_merges TO wt_app, wt_definer;
ALTER TABLE patient_merges ENABLE ROW LEVEL SECURITY;
ALTER TABLE patient_merges FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON patient_merges TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON patient_merges TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON patient_aliases TO wt_worker;
GRANT SELECT ON patient_aliases TO wt_app, wt_definer;
ALTER TABLE patient_aliases ENABLE ROW LEVEL SECURITY;
ALTER TABLE patient_aliases FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON patient_aliases TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON patient_aliases TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT ON admission_aliases TO wt_worker;
GRANT SELECT ON admission_aliases TO wt_app, wt_definer;
ALTER TABLE admission_aliases ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission_aliases FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON admission_aliases TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON admission_aliases TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
