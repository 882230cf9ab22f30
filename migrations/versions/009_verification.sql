-- Verification: the facts that tasks are judged by, what is due, what is known, what was told.

CREATE TABLE verification_tasks (
    task_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    version INTEGER NOT NULL,
    patient_id UUID,
    admission_id UUID,
    rule_id UUID,
    order_id UUID,
    window_starts_at TIMESTAMP WITH TIME ZONE,
    window_ends_at TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE,
    cancelled BOOLEAN NOT NULL,
    status_said JSONB NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_verification_tasks PRIMARY KEY (task_id)
);
COMMENT ON COLUMN verification_tasks.version IS 'of the task''s stream';
COMMENT ON COLUMN verification_tasks.patient_id IS 'as told';
COMMENT ON COLUMN verification_tasks.admission_id IS 'as told';
CREATE INDEX idx_verification_tasks_admission ON verification_tasks (admission_id);
CREATE INDEX idx_verification_tasks_patient ON verification_tasks (patient_id);
CREATE INDEX idx_verification_tasks_rule ON verification_tasks (tenant_id, rule_id);

CREATE TABLE verification_evidence (
    evidence_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    event_id UUID NOT NULL,
    feed_id UUID NOT NULL,
    evidence_kind VARCHAR(20) NOT NULL,
    evidence_state VARCHAR(20) NOT NULL,
    raw_state TEXT,
    codes JSONB NOT NULL,
    value_number FLOAT,
    value_unit TEXT,
    value_comparator VARCHAR(2),
    value_code TEXT,
    patient_id UUID NOT NULL,
    admission_id UUID,
    order_id UUID,
    performed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    reported_at TIMESTAMP WITH TIME ZONE,
    version TEXT,
    versions INTEGER NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_verification_evidence PRIMARY KEY (evidence_id)
);
COMMENT ON COLUMN verification_evidence.event_id IS 'of the newest version';
COMMENT ON COLUMN verification_evidence.patient_id IS 'as told';
COMMENT ON COLUMN verification_evidence.admission_id IS 'as told';
COMMENT ON COLUMN verification_evidence.version IS 'the sender''s own; none in HL7 v2';
COMMENT ON COLUMN verification_evidence.versions IS 'how many were told';
CREATE INDEX idx_verification_evidence_admission ON verification_evidence (admission_id);
CREATE INDEX idx_verification_evidence_patient ON verification_evidence (patient_id);
CREATE INDEX idx_verification_evidence_tenant ON verification_evidence (tenant_id);

CREATE TABLE verification_rules (
    rule_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    rule JSONB NOT NULL,
    retired BOOLEAN NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_verification_rules PRIMARY KEY (rule_id)
);
COMMENT ON COLUMN verification_rules.retired IS 'it stands for the tasks that name it';
CREATE INDEX idx_verification_rules_tenant ON verification_rules (tenant_id);

CREATE TABLE verification_decisions (
    event_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    verification_id UUID NOT NULL,
    task_id UUID NOT NULL,
    version INTEGER NOT NULL,
    decided VARCHAR(20) NOT NULL,
    resolves BOOLEAN NOT NULL,
    decided_by UUID NOT NULL,
    vector_clock JSONB NOT NULL,
    hlc_micros BIGINT NOT NULL,
    hlc_counter INTEGER NOT NULL,
    hlc_node VARCHAR(64) NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_verification_decisions PRIMARY KEY (event_id)
);
COMMENT ON COLUMN verification_decisions.verification_id IS 'the decisions'' stream';
COMMENT ON COLUMN verification_decisions.version IS 'of that stream';
COMMENT ON COLUMN verification_decisions.decided IS 'verified, refuted';
CREATE INDEX idx_verification_decisions_task ON verification_decisions (task_id);
CREATE INDEX idx_verification_decisions_tenant ON verification_decisions (tenant_id);

CREATE TABLE verification_visits (
    admission_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    owner_id UUID,
    joined_into UUID,
    said JSONB NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_verification_visits PRIMARY KEY (admission_id)
);
COMMENT ON COLUMN verification_visits.owner_id IS 'whose visit it became; none: as told';
COMMENT ON COLUMN verification_visits.joined_into IS 'as which visit it goes on';
CREATE INDEX idx_verification_visits_joined ON verification_visits (joined_into);
CREATE INDEX idx_verification_visits_owner ON verification_visits (owner_id);
CREATE INDEX idx_verification_visits_tenant ON verification_visits (tenant_id);

CREATE TABLE verification_links (
    event_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    into_patient_id UUID NOT NULL,
    link VARCHAR(10) NOT NULL,
    said_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_verification_links PRIMARY KEY (event_id)
);
COMMENT ON COLUMN verification_links.patient_id IS 'as told; who was merged';
COMMENT ON COLUMN verification_links.into_patient_id IS 'as told; into whom';
COMMENT ON COLUMN verification_links.link IS 'merge, move, change, undo';
CREATE INDEX idx_verification_links_into ON verification_links (into_patient_id);
CREATE INDEX idx_verification_links_patient ON verification_links (patient_id);
CREATE INDEX idx_verification_links_tenant ON verification_links (tenant_id);

CREATE TABLE feed_watermarks (
    tenant_id UUID NOT NULL,
    feed_id UUID NOT NULL,
    partition SMALLINT NOT NULL,
    told VARCHAR(20) NOT NULL,
    clinical_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_feed_watermarks PRIMARY KEY (tenant_id, feed_id, partition, told)
);
COMMENT ON COLUMN feed_watermarks.partition IS 'of the events that told';
COMMENT ON COLUMN feed_watermarks.told IS 'the kind of evidence, or else adt';

CREATE TABLE verification_due (
    tenant_id UUID NOT NULL,
    due VARCHAR(20) NOT NULL,
    due_id UUID NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    failed VARCHAR(100),
    CONSTRAINT pk_verification_due PRIMARY KEY (tenant_id, due, due_id, partition, partition_seq)
);
COMMENT ON COLUMN verification_due.due IS 'patient, task, rule, visit';
COMMENT ON COLUMN verification_due.due_id IS 'of that';
COMMENT ON COLUMN verification_due.failed IS 'the error that judging ended with; tried no more';
CREATE INDEX idx_verification_due_waiting ON verification_due (due) WHERE failed IS NULL;

CREATE TABLE emr_verifications (
    task_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    patient_id UUID,
    rule_id UUID,
    rule_version INTEGER,
    status verification_status NOT NULL,
    reasons JSONB NOT NULL,
    evidence JSONB NOT NULL,
    discrepancies JSONB NOT NULL,
    decisions JSONB NOT NULL,
    verified_by UUID,
    verified_at TIMESTAMP WITH TIME ZONE,
    vector_clock JSONB NOT NULL,
    hlc_micros BIGINT,
    hlc_counter INTEGER,
    hlc_node VARCHAR(64),
    absence VARCHAR(20),
    awaits_at TIMESTAMP WITH TIME ZONE,
    result_id UUID NOT NULL,
    revision INTEGER NOT NULL,
    judged_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    CONSTRAINT pk_emr_verifications PRIMARY KEY (task_id)
);
COMMENT ON COLUMN emr_verifications.patient_id IS 'who they are after merges';
COMMENT ON COLUMN emr_verifications.verified_by IS 'who decided; none: the feeds say so';
COMMENT ON COLUMN emr_verifications.hlc_micros IS 'of the decision shown first';
COMMENT ON COLUMN emr_verifications.absence IS 'what the lack of evidence says; none: there is some';
COMMENT ON COLUMN emr_verifications.result_id IS 'of its content';
COMMENT ON COLUMN emr_verifications.partition IS 'the task''s home';
CREATE INDEX idx_emr_verifications_absent ON emr_verifications (rule_id, awaits_at) WHERE absence IS NOT NULL;
CREATE INDEX idx_emr_verifications_clock ON emr_verifications USING gin (vector_clock);
CREATE INDEX idx_emr_verifications_patient ON emr_verifications (patient_id);
CREATE INDEX idx_emr_verifications_status ON emr_verifications (tenant_id, status);
CREATE INDEX idx_emr_verifications_verified ON emr_verifications (tenant_id, verified_at);

CREATE TABLE verification_results (
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    tenant_id UUID NOT NULL,
    task_id UUID NOT NULL,
    revision INTEGER NOT NULL,
    result_id UUID NOT NULL,
    result JSONB NOT NULL,
    judged_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_verification_results PRIMARY KEY (partition, partition_seq),
    CONSTRAINT uq_verification_results_task_id_revision UNIQUE (task_id, revision)
);
COMMENT ON COLUMN verification_results.partition_seq IS 'numbered by itself';
COMMENT ON COLUMN verification_results.result IS 'the record as it is published';
CREATE INDEX idx_verification_results_tenant ON verification_results (tenant_id);

GRANT SELECT, INSERT, UPDATE ON verification_tasks TO wt_worker;
GRANT SELECT ON verification_tasks TO wt_app, wt_definer;
ALTER TABLE verification_tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE verification_tasks FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON verification_tasks TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON verification_tasks TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON verification_evidence TO wt_worker;
GRANT SELECT ON verification_evidence TO wt_app, wt_definer;
ALTER TABLE verification_evidence ENABLE ROW LEVEL SECURITY;
ALTER TABLE verification_evidence FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON verification_evidence TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON verification_evidence TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON verification_rules TO wt_worker;
GRANT SELECT ON verification_rules TO wt_app, wt_definer;
ALTER TABLE verification_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE verification_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON verification_rules TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON verification_rules TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON verification_decisions TO wt_worker;
GRANT SELECT ON verification_decisions TO wt_app, wt_definer;
ALTER TABLE verification_decisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE verification_decisions FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON verification_decisions TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON verification_decisions TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON verification_visits TO wt_worker;
GRANT SELECT ON verification_visits TO wt_app, wt_definer;
ALTER TABLE verification_visits ENABLE ROW LEVEL SECURITY;
ALTER TABLE verification_visits FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON verification_visits TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON verification_visits TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON verification_links TO wt_worker;
GRANT SELECT ON verification_links TO wt_app, wt_definer;
ALTER TABLE verification_links ENABLE ROW LEVEL SECURITY;
ALTER TABLE verification_links FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON verification_links TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON verification_links TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON feed_watermarks TO wt_worker;
GRANT SELECT ON feed_watermarks TO wt_app, wt_definer;
ALTER TABLE feed_watermarks ENABLE ROW LEVEL SECURITY;
ALTER TABLE feed_watermarks FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON feed_watermarks TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON feed_watermarks TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE, DELETE ON verification_due TO wt_worker;
GRANT SELECT ON verification_due TO wt_app, wt_definer;
ALTER TABLE verification_due ENABLE ROW LEVEL SECURITY;
ALTER TABLE verification_due FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON verification_due TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON verification_due TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON emr_verifications TO wt_worker;
GRANT SELECT ON emr_verifications TO wt_app, wt_definer;
ALTER TABLE emr_verifications ENABLE ROW LEVEL SECURITY;
ALTER TABLE emr_verifications FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON emr_verifications TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON emr_verifications TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT ON verification_results TO wt_worker;
GRANT SELECT ON verification_results TO wt_app, wt_definer;
ALTER TABLE verification_results ENABLE ROW LEVEL SECURITY;
ALTER TABLE verification_results FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON verification_results TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON verification_results TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
