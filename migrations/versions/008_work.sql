-- People and work (document 004): departments, users, shifts, tasks, handovers.

CREATE TYPE task_status AS ENUM ('pending', 'in_progress', 'completed', 'cancelled');
CREATE TYPE task_priority AS ENUM ('low', 'normal', 'high', 'urgent');
CREATE TYPE user_role AS ENUM (
    'nurse', 'physician', 'pharmacist', 'therapist', 'technician',
    'supervisor', 'administrator', 'observer'
);
CREATE TYPE emr_system AS ENUM ('EPIC', 'CERNER', 'GENERIC_FHIR');
CREATE TYPE verification_status AS ENUM (
    'pending', 'verified', 'verified_late', 'refuted', 'unknown_stale', 'conflict', 'void'
);

CREATE TABLE departments (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    code VARCHAR(50) NOT NULL,
    name BYTEA NOT NULL,
    is_active BOOLEAN NOT NULL,
    created_by UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    version INTEGER NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_departments PRIMARY KEY (id),
    CONSTRAINT ck_departments_active CHECK (is_active = (deleted_at IS NULL))
);
COMMENT ON COLUMN departments.name IS 'sealed';
COMMENT ON COLUMN departments.created_by IS 'the user, else the app''s feed';
COMMENT ON COLUMN departments.version IS 'of the stream';
CREATE INDEX idx_departments_tenant ON departments (tenant_id, id);

CREATE TABLE users (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    name BYTEA NOT NULL,
    email BYTEA NOT NULL,
    role user_role NOT NULL,
    is_active BOOLEAN NOT NULL,
    created_by UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    version INTEGER NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_users PRIMARY KEY (id),
    CONSTRAINT ck_users_active CHECK (is_active = (deleted_at IS NULL))
);
COMMENT ON COLUMN users.name IS 'sealed';
COMMENT ON COLUMN users.email IS 'sealed';
COMMENT ON COLUMN users.created_by IS 'the user, else the app''s feed';
COMMENT ON COLUMN users.version IS 'of the stream';
CREATE INDEX idx_users_tenant ON users (tenant_id, id);

CREATE TABLE user_departments (
    tenant_id UUID NOT NULL,
    user_id UUID NOT NULL,
    department_id UUID NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_user_departments PRIMARY KEY (tenant_id, user_id, department_id)
);
CREATE INDEX idx_user_departments_department ON user_departments (department_id);
CREATE INDEX idx_user_departments_user ON user_departments (user_id);

CREATE TABLE emr_identities (
    tenant_id UUID NOT NULL,
    user_id UUID NOT NULL,
    emr_system emr_system NOT NULL,
    authority VARCHAR(200) NOT NULL,
    emr_id BYTEA NOT NULL,
    linked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_emr_identities PRIMARY KEY (tenant_id, user_id, emr_system, authority)
);
COMMENT ON COLUMN emr_identities.authority IS 'an instance, not a vendor';
COMMENT ON COLUMN emr_identities.emr_id IS 'sealed';
CREATE INDEX idx_emr_identities_user ON emr_identities (user_id);

CREATE TABLE shifts (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    department_id UUID NOT NULL,
    supervisor_id UUID NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    staff JSONB NOT NULL,
    created_by UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    version INTEGER NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_shifts PRIMARY KEY (id),
    CONSTRAINT ck_shifts_times CHECK (ends_at > starts_at)
);
COMMENT ON COLUMN shifts.created_by IS 'the user, else the app''s feed';
COMMENT ON COLUMN shifts.version IS 'of the stream';
CREATE INDEX idx_shifts_department ON shifts (department_id, starts_at);
CREATE INDEX idx_shifts_supervisor ON shifts (supervisor_id);
CREATE INDEX idx_shifts_tenant ON shifts (tenant_id, starts_at, id);

CREATE TABLE tasks (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    admission_id UUID,
    department_id UUID NOT NULL,
    shift_id UUID,
    assigned_to UUID,
    title BYTEA NOT NULL,
    description BYTEA,
    priority task_priority NOT NULL,
    status task_status NOT NULL,
    due_date TIMESTAMP WITH TIME ZONE,
    started_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    completed_by UUID,
    cancel_reason BYTEA,
    order_id UUID,
    rule_id UUID,
    window_starts_at TIMESTAMP WITH TIME ZONE,
    window_ends_at TIMESTAMP WITH TIME ZONE,
    recurrence INTEGER,
    vector_clock JSONB NOT NULL,
    hlc_micros BIGINT NOT NULL,
    hlc_counter INTEGER NOT NULL,
    last_synced_at TIMESTAMP WITH TIME ZONE,
    registers JSONB NOT NULL,
    conflicts JSONB NOT NULL,
    created_by UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    version INTEGER NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_tasks PRIMARY KEY (id),
    CONSTRAINT ck_tasks_vector_clock CHECK (jsonb_typeof(vector_clock) = 'object'),
    CONSTRAINT ck_tasks_hlc CHECK (hlc_micros >= 0 AND hlc_counter >= 0),
    CONSTRAINT ck_tasks_completed
        CHECK (((status)::text = 'completed') = (completed_at IS NOT NULL)),
    CONSTRAINT ck_tasks_cancelled
        CHECK (((status)::text = 'cancelled') = (deleted_at IS NOT NULL)),
    CONSTRAINT ck_tasks_completed_by CHECK ((completed_at IS NULL) = (completed_by IS NULL)),
    CONSTRAINT ck_tasks_window CHECK (window_ends_at > window_starts_at),
    CONSTRAINT ck_tasks_recurrence CHECK (recurrence >= 0)
);
COMMENT ON COLUMN tasks.patient_id IS 'as told; aliases say who that is';
COMMENT ON COLUMN tasks.title IS 'sealed';
COMMENT ON COLUMN tasks.description IS 'sealed';
COMMENT ON COLUMN tasks.cancel_reason IS 'sealed';
COMMENT ON COLUMN tasks.order_id IS 'keyed hash of the placer order number';
COMMENT ON COLUMN tasks.created_by IS 'the user, else the app''s feed';
COMMENT ON COLUMN tasks.version IS 'of the stream';
CREATE INDEX idx_tasks_assigned_status ON tasks (assigned_to, status);
CREATE INDEX idx_tasks_changed ON tasks (partition, partition_seq);
CREATE INDEX idx_tasks_dept_status_due ON tasks (department_id, status, due_date);
CREATE INDEX idx_tasks_patient_id ON tasks (patient_id);
CREATE INDEX idx_tasks_shift ON tasks (shift_id);
CREATE INDEX idx_tasks_tenant ON tasks
    (tenant_id, COALESCE(due_date, 'infinity'::timestamp with time zone), id);
CREATE INDEX idx_tasks_vector_clock ON tasks (hlc_micros, hlc_counter);

CREATE TABLE handovers (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    from_shift_id UUID NOT NULL,
    to_shift_id UUID NOT NULL,
    department_id UUID NOT NULL,
    patient_id UUID,
    status VARCHAR(20) NOT NULL,
    summary BYTEA NOT NULL,
    task_ids JSONB NOT NULL,
    initiated_by UUID NOT NULL,
    initiated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    accepted_by UUID,
    completed_at TIMESTAMP WITH TIME ZONE,
    cancel_reason BYTEA,
    vector_clock JSONB NOT NULL,
    hlc_micros BIGINT NOT NULL,
    hlc_counter INTEGER NOT NULL,
    last_synced_at TIMESTAMP WITH TIME ZONE,
    registers JSONB NOT NULL,
    conflicts JSONB NOT NULL,
    created_by UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    version INTEGER NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_handovers PRIMARY KEY (id),
    CONSTRAINT ck_handovers_vector_clock CHECK (jsonb_typeof(vector_clock) = 'object'),
    CONSTRAINT ck_handovers_hlc CHECK (hlc_micros >= 0 AND hlc_counter >= 0),
    CONSTRAINT ck_handovers_status CHECK (status IN ('initiated', 'accepted', 'cancelled')),
    CONSTRAINT ck_handovers_completed CHECK ((status = 'accepted') = (completed_at IS NOT NULL)),
    CONSTRAINT ck_handovers_cancelled CHECK ((status = 'cancelled') = (deleted_at IS NOT NULL)),
    CONSTRAINT ck_handovers_accepted_by CHECK ((completed_at IS NULL) = (accepted_by IS NULL)),
    CONSTRAINT ck_handovers_of_two CHECK (from_shift_id <> to_shift_id)
);
COMMENT ON COLUMN handovers.summary IS 'sealed';
COMMENT ON COLUMN handovers.cancel_reason IS 'sealed';
COMMENT ON COLUMN handovers.created_by IS 'the user, else the app''s feed';
COMMENT ON COLUMN handovers.version IS 'of the stream';
CREATE INDEX idx_handovers_changed ON handovers (partition, partition_seq);
CREATE INDEX idx_handovers_completed ON handovers (completed_at);
CREATE INDEX idx_handovers_from_shift ON handovers (from_shift_id);
CREATE INDEX idx_handovers_tenant ON handovers (tenant_id, initiated_at, id);
CREATE INDEX idx_handovers_to_shift ON handovers (to_shift_id);
CREATE INDEX idx_handovers_vector_clock ON handovers (hlc_micros, hlc_counter);

GRANT SELECT, INSERT, UPDATE ON departments TO wt_worker;
GRANT SELECT ON departments TO wt_app, wt_definer;
ALTER TABLE departments ENABLE ROW LEVEL SECURITY;
ALTER TABLE departments FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON departments TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON departments TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON users TO wt_worker;
GRANT SELECT ON users TO wt_app, wt_definer;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON users TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON users TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON user_departments TO wt_worker;
GRANT SELECT ON user_departments TO wt_app, wt_definer;
ALTER TABLE user_departments ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_departments FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON user_departments TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON user_departments TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON emr_identities TO wt_worker;
GRANT SELECT ON emr_identities TO wt_app, wt_definer;
ALTER TABLE emr_identities ENABLE ROW LEVEL SECURITY;
ALTER TABLE emr_identities FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON emr_identities TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON emr_identities TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON shifts TO wt_worker;
GRANT SELECT ON shifts TO wt_app, wt_definer;
ALTER TABLE shifts ENABLE ROW LEVEL SECURITY;
ALTER TABLE shifts FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON shifts TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON shifts TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON tasks TO wt_worker;
GRANT SELECT ON tasks TO wt_app, wt_definer;
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE tasks FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON tasks TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
-- And of the departments that the reader's key names, or of all (fail closed).
CREATE POLICY app ON tasks TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
           AND (current_setting('wt.all_departments', true) = 'on'
                OR department_id = ANY (
                    nullif(current_setting('wt.departments', true), '')::uuid[])));

GRANT SELECT, INSERT, UPDATE ON handovers TO wt_worker;
GRANT SELECT ON handovers TO wt_app, wt_definer;
ALTER TABLE handovers ENABLE ROW LEVEL SECURITY;
ALTER TABLE handovers FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON handovers TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
-- And of the departments that the reader's key names, or of all (fail closed).
CREATE POLICY app ON handovers TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
           AND (current_setting('wt.all_departments', true) = 'on'
                OR department_id = ANY (
                    nullif(current_setting('wt.departments', true), '')::uuid[])));

-- How one vector clock stands to another: before, after, equal, concurrent.
CREATE FUNCTION clock_order(a jsonb, b jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    WITH counts AS (
        SELECT coalesce((a ->> replica)::bigint, 0) AS mine,
               coalesce((b ->> replica)::bigint, 0) AS theirs
        FROM (SELECT jsonb_object_keys(a) UNION SELECT jsonb_object_keys(b)) AS named (replica)
    ), sides AS (
        SELECT coalesce(bool_or(mine < theirs), false) AS behind,
               coalesce(bool_or(theirs < mine), false) AS ahead
        FROM counts
    )
    SELECT CASE WHEN behind AND ahead THEN 'concurrent' WHEN behind THEN 'before'
                WHEN ahead THEN 'after' ELSE 'equal' END
    FROM sides
$$;

-- The least clock that is before neither of two.
CREATE FUNCTION clock_merge(a jsonb, b jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        jsonb_object_agg(
            replica,
            greatest(coalesce((a ->> replica)::bigint, 0), coalesce((b ->> replica)::bigint, 0))
        ),
        '{}'
    )
    FROM (SELECT jsonb_object_keys(a) UNION SELECT jsonb_object_keys(b)) AS named (replica)
$$;

-- Everybody who is the same patient now: their aliases, as far as the caller may see them.
CREATE FUNCTION same_patients(p_patient uuid) RETURNS SETOF uuid
    LANGUAGE sql STABLE AS $$
    WITH RECURSIVE same (patient_id) AS (
        SELECT p_patient
        UNION
        SELECT CASE WHEN alias.patient_id = same.patient_id
               THEN alias.into_patient_id ELSE alias.patient_id END
        FROM same JOIN patient_aliases AS alias
          ON (alias.patient_id = same.patient_id OR alias.into_patient_id = same.patient_id)
         AND alias.undone_at IS NULL
    )
    SELECT patient_id FROM same
$$;

-- Patients by the document's names: what it holds in clear stands sealed in encrypted_data, and
-- its numbers and EMR identities as keyed hashes in patient_identifiers. A patient who was merged
-- into another is not active.
CREATE VIEW patients WITH (security_invoker = true, security_barrier = true) AS
    SELECT patient.id, patient.tenant_id, patient.data AS encrypted_data,
           alias.into_patient_id IS NULL AS is_active, alias.into_patient_id AS merged_into,
           patient.created_at, patient.updated_at, NULL::timestamptz AS deleted_at
    FROM patient_read_models AS patient
    LEFT JOIN patient_aliases AS alias
           ON alias.tenant_id = patient.tenant_id AND alias.patient_id = patient.id
          AND alias.undone_at IS NULL;
GRANT SELECT ON patients TO wt_app, wt_worker;

-- What is to be done and was done for each patient, under whom they are now (rule V7).
CREATE VIEW patient_task_summary WITH (security_invoker = true, security_barrier = true) AS
    WITH RECURSIVE up (tenant_id, patient_id, survivor_id) AS (
        SELECT DISTINCT tenant_id, patient_id, patient_id FROM tasks
        UNION
        SELECT up.tenant_id, up.patient_id, alias.into_patient_id
        FROM up
        JOIN patient_aliases AS alias
          ON alias.tenant_id = up.tenant_id AND alias.patient_id = up.survivor_id
         AND alias.undone_at IS NULL
    ), survivors AS (
        SELECT tenant_id, patient_id, survivor_id FROM up
        WHERE NOT EXISTS (
            SELECT FROM patient_aliases AS alias
            WHERE alias.tenant_id = up.tenant_id AND alias.patient_id = up.survivor_id
              AND alias.undone_at IS NULL)
    )
    SELECT task.tenant_id, survivor.survivor_id AS patient_id,
           count(*) AS total_tasks,
           count(*) FILTER (WHERE task.status = 'pending') AS pending_tasks,
           count(*) FILTER (WHERE task.status = 'in_progress') AS in_progress_tasks,
           count(*) FILTER (WHERE task.status = 'completed') AS completed_tasks,
           count(*) FILTER (WHERE task.status = 'cancelled') AS cancelled_tasks,
           count(*) FILTER (WHERE task.status IN ('pending', 'in_progress')
                              AND task.due_date < now()) AS overdue_tasks,
           count(*) FILTER (WHERE task.conflicts <> '{}') AS conflicting_tasks,
           min(task.due_date) FILTER (WHERE task.status IN ('pending', 'in_progress'))
               AS next_due_date,
           max(task.completed_at) AS last_completed_at,
           max(task.updated_at) AS updated_at
    FROM tasks AS task
    JOIN survivors AS survivor
      ON survivor.tenant_id = task.tenant_id AND survivor.patient_id = task.patient_id
    GROUP BY task.tenant_id, survivor.survivor_id;
GRANT SELECT ON patient_task_summary TO wt_app, wt_worker;
