DROP POLICY retried ON command_results;
REVOKE UPDATE ON command_results FROM wt_worker;
-- Dead letters tell the same. Forced policies would hide the rows from their owner too.
ALTER TABLE command_results NO FORCE ROW LEVEL SECURITY;
DELETE FROM command_results WHERE outcome = 'failed';
ALTER TABLE command_results FORCE ROW LEVEL SECURITY;
COMMENT ON COLUMN command_results.rule IS 'a code; which rule refused it';
COMMENT ON COLUMN command_results.said IS 'the rule in words; never a patient''s data';
COMMENT ON COLUMN command_results.version IS 'of the stream, after the command';
ALTER TABLE command_results
    DROP CONSTRAINT ck_command_results_outcome,
    DROP CONSTRAINT ck_command_results_explained,
    ADD CONSTRAINT ck_command_results_outcome CHECK (outcome IN ('accepted', 'rejected')),
    ADD CONSTRAINT ck_command_results_rejected_by_rule
        CHECK ((outcome = 'rejected') = (rule IS NOT NULL AND said IS NOT NULL));

ALTER POLICY app ON verification_results
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
ALTER POLICY app ON emr_verifications
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
ALTER POLICY app ON verification_decisions
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
ALTER POLICY app ON verification_tasks
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
