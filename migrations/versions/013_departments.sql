-- Who may see what belongs to a department, and what became of commands that failed.

-- What is known of a task is shown to who may see the task: its own row policy decides (fail closed).
ALTER POLICY app ON verification_tasks
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
           AND (current_setting('wt.all_departments', true) = 'on'
                OR EXISTS (SELECT FROM tasks WHERE tasks.id = verification_tasks.task_id)));
ALTER POLICY app ON verification_decisions
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
           AND (current_setting('wt.all_departments', true) = 'on'
                OR EXISTS (SELECT FROM tasks WHERE tasks.id = verification_decisions.task_id)));
ALTER POLICY app ON emr_verifications
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
           AND (current_setting('wt.all_departments', true) = 'on'
                OR EXISTS (SELECT FROM tasks WHERE tasks.id = emr_verifications.task_id)));
ALTER POLICY app ON verification_results
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
           AND (current_setting('wt.all_departments', true) = 'on'
                OR EXISTS (SELECT FROM tasks WHERE tasks.id = verification_results.task_id)));

ALTER TABLE command_results
    DROP CONSTRAINT ck_command_results_outcome,
    DROP CONSTRAINT ck_command_results_rejected_by_rule,
    ADD CONSTRAINT ck_command_results_outcome
        CHECK (outcome IN ('accepted', 'rejected', 'failed')),
    ADD CONSTRAINT ck_command_results_explained
        CHECK ((outcome <> 'accepted') = (rule IS NOT NULL AND said IS NOT NULL));
COMMENT ON COLUMN command_results.rule IS 'a code; which rule refused it, or why it failed';
COMMENT ON COLUMN command_results.said IS 'that in words; never a patient''s data';
COMMENT ON COLUMN command_results.version IS 'of the stream, after the command; 0: it failed';
GRANT UPDATE ON command_results TO wt_worker;
-- What was decided stands; what failed may be retried.
CREATE POLICY retried ON command_results AS RESTRICTIVE FOR UPDATE TO wt_worker
    USING (outcome = 'failed') WITH CHECK (true);
