-- Tokens by which a patient is found, as the newest snapshot of each one has them.

CREATE TABLE patient_tokens (
    tenant_id UUID NOT NULL,
    token UUID NOT NULL,
    patient_id UUID NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_patient_tokens PRIMARY KEY (tenant_id, token, patient_id)
);
COMMENT ON COLUMN patient_tokens.token IS 'keyed hash; its kind stands nowhere';
COMMENT ON COLUMN patient_tokens.patient_id IS 'as told; who may be another one since';
CREATE INDEX idx_patient_tokens_patient ON patient_tokens (patient_id);

-- By an identifier whose authority isn't said.
CREATE INDEX idx_patient_identifiers_value ON patient_identifiers (tenant_id, value_hmac);

-- A token that is no one's any more is gone: this table alone says who was called what.
GRANT SELECT, INSERT, UPDATE, DELETE ON patient_tokens TO wt_worker;
GRANT SELECT ON patient_tokens TO wt_app, wt_definer;
ALTER TABLE patient_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE patient_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON patient_tokens TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON patient_tokens TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
