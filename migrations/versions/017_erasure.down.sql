DROP FUNCTION erase_bodies(uuid, uuid[], uuid[]);
REVOKE UPDATE (body_sealed) ON messages FROM wt_definer;
CREATE OR REPLACE VIEW patients WITH (security_invoker = true, security_barrier = true) AS
    SELECT patient.id, patient.tenant_id, patient.data AS encrypted_data,
           alias.into_patient_id IS NULL AS is_active, alias.into_patient_id AS merged_into,
           patient.created_at, patient.updated_at, NULL::timestamptz AS deleted_at
    FROM patient_read_models AS patient
    LEFT JOIN patient_aliases AS alias
           ON alias.tenant_id = patient.tenant_id AND alias.patient_id = patient.id
          AND alias.undone_at IS NULL;
DROP INDEX idx_subject_keys_erased;
ALTER TABLE tenants DROP CONSTRAINT ck_tenants_erased_people, DROP COLUMN erased_people;
DROP TABLE legal_holds, data_deletion_requests;
