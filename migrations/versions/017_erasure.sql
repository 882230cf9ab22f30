-- Requests to erase people, legal holds, and what is needed to carry them out.

CREATE TABLE data_deletion_requests (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    request_type VARCHAR(50) NOT NULL,
    status VARCHAR(50) DEFAULT 'pending' NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE,
    data_categories JSONB NOT NULL,
    verification_method VARCHAR(50) NOT NULL,
    verification_details JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    requested_by VARCHAR(200) NOT NULL,
    purpose VARCHAR(1000) NOT NULL,
    people JSONB NOT NULL,
    erased_at TIMESTAMP WITH TIME ZONE,
    announced_at TIMESTAMP WITH TIME ZONE,
    destroyed_at TIMESTAMP WITH TIME ZONE,
    said VARCHAR(1000),
    receipt JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_data_deletion_requests PRIMARY KEY (id),
    CONSTRAINT ck_data_deletion_requests_status
        CHECK (status IN ('pending', 'processing', 'completed', 'refused', 'cancelled')),
    CONSTRAINT ck_data_deletion_requests_completed
        CHECK ((status = 'completed') = (completed_at IS NOT NULL))
);
COMMENT ON COLUMN data_deletion_requests.patient_id IS 'who the person is now';
COMMENT ON COLUMN data_deletion_requests.purpose IS 'why; never a patient''s data';
COMMENT ON COLUMN data_deletion_requests.people IS 'every id of the person, with key versions';
COMMENT ON COLUMN data_deletion_requests.erased_at IS 'what is reported later may be of somebody who came again';
COMMENT ON COLUMN data_deletion_requests.announced_at IS 'when the log held every announcement';
COMMENT ON COLUMN data_deletion_requests.said IS 'why it was refused or cancelled';
CREATE INDEX idx_data_deletion_requests_user ON data_deletion_requests (tenant_id, patient_id);
CREATE INDEX idx_data_deletion_requests_status ON data_deletion_requests (status);
CREATE UNIQUE INDEX idx_data_deletion_requests_open ON data_deletion_requests (tenant_id, patient_id) WHERE status IN ('pending', 'processing');

CREATE TABLE legal_holds (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id UUID NOT NULL,
    patient_id UUID NOT NULL,
    reason VARCHAR(1000) NOT NULL,
    placed_by VARCHAR(200) NOT NULL,
    placed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    released_at TIMESTAMP WITH TIME ZONE,
    released_by VARCHAR(200),
    CONSTRAINT pk_legal_holds PRIMARY KEY (id),
    CONSTRAINT ck_legal_holds_released CHECK ((released_at IS NULL) = (released_by IS NULL))
);
COMMENT ON COLUMN legal_holds.patient_id IS 'one id of the person: it holds for every alias';
COMMENT ON COLUMN legal_holds.reason IS 'why; never a patient''s data';
CREATE INDEX idx_legal_holds_patient ON legal_holds (tenant_id, patient_id);

-- No row of either is removed but with its tenant: who was erased, or not, and why, is kept.
GRANT SELECT, INSERT, UPDATE ON data_deletion_requests, legal_holds TO wt_worker;
GRANT SELECT ON data_deletion_requests, legal_holds TO wt_app, wt_definer;
ALTER TABLE data_deletion_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE data_deletion_requests FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON data_deletion_requests TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON data_deletion_requests TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
ALTER TABLE legal_holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE legal_holds FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON legal_holds TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON legal_holds TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

ALTER TABLE tenants ADD COLUMN erased_people VARCHAR(10) DEFAULT 'dark' NOT NULL;
ALTER TABLE tenants ADD CONSTRAINT ck_tenants_erased_people CHECK (erased_people IN ('dark', 'anew'));
COMMENT ON COLUMN tenants.erased_people IS 'what is reported of them later: stays dark, or is of somebody who came anew';

-- Asked for every chunk of the ledger; nearly nobody is in it.
CREATE INDEX idx_subject_keys_erased ON subject_keys (tenant_id, subject_id) WHERE destroyed_at IS NOT NULL;

CREATE OR REPLACE VIEW patients WITH (security_invoker = true, security_barrier = true) AS
    SELECT patient.id, patient.tenant_id, patient.data AS encrypted_data,
           alias.into_patient_id IS NULL AS is_active, alias.into_patient_id AS merged_into,
           patient.created_at, patient.updated_at,
           (patient.data ->> 'erased_at')::timestamptz AS deleted_at
    FROM patient_read_models AS patient
    LEFT JOIN patient_aliases AS alias
           ON alias.tenant_id = patient.tenant_id AND alias.patient_id = patient.id
          AND alias.undone_at IS NULL;

-- Workers can't change what was told, so bodies of erased people's messages are taken out by a
-- function that wt_migrate alone may call, as wt_owner, and only once the keys are destroyed.
GRANT UPDATE (body_sealed) ON messages TO wt_definer;
GRANT CREATE ON SCHEMA public TO wt_definer;
CREATE FUNCTION erase_bodies(request uuid, feeds uuid[], ids uuid[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    done bigint;
    whose uuid;
BEGIN
    SELECT tenant_id INTO whose FROM public.data_deletion_requests
    WHERE id = request AND status = 'processing' AND destroyed_at IS NOT NULL;
    IF whose IS NULL THEN
        RAISE EXCEPTION 'no erasure of this request has destroyed its keys' USING ERRCODE = '55000';
    END IF;
    UPDATE public.messages AS message SET body_sealed = ''
    FROM unnest(feeds, ids) AS named (feed_id, message_id)
    WHERE message.tenant_id = whose AND message.feed_id = named.feed_id
      AND message.message_id = named.message_id AND message.body_sealed <> '';
    GET DIAGNOSTICS done = ROW_COUNT;
    RETURN done;
END $$;
ALTER FUNCTION erase_bodies(uuid, uuid[], uuid[]) OWNER TO wt_definer;
REVOKE ALL ON FUNCTION erase_bodies(uuid, uuid[], uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_bodies(uuid, uuid[], uuid[]) TO wt_owner;
REVOKE CREATE ON SCHEMA public FROM wt_definer;
