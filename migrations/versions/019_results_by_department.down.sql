COMMENT ON COLUMN verification_due.due IS 'patient, task, rule, visit';
-- A projection's own: whoever is due is found again by a rebuild. Forced policies hide them here.
ALTER TABLE verification_due NO FORCE ROW LEVEL SECURITY;
DELETE FROM verification_due WHERE due = 'order';
ALTER TABLE verification_due FORCE ROW LEVEL SECURITY;
ALTER POLICY app ON command_results
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
ALTER TABLE command_results DROP COLUMN issued_by, DROP COLUMN department_id;
