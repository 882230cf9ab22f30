-- What became of a command is shown to who may see what it is about, and to who asked it.

-- Of what stands already nobody can say: work is shown to who sees all departments (fail closed).
ALTER TABLE command_results
    ADD COLUMN department_id UUID,
    ADD COLUMN issued_by UUID;
COMMENT ON COLUMN command_results.department_id IS
    'whose work it is about; none: no one department''s';
COMMENT ON COLUMN command_results.issued_by IS 'who asked; none: it couldn''t be told';

-- Departments, people, rules and plans are the whole tenant's to read, and so is what became of
-- commands on them. A type that comes later is not, until it is said here.
ALTER POLICY app ON command_results
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid
           AND (current_setting('wt.all_departments', true) = 'on'
                OR issued_by = nullif(current_setting('wt.issuer', true), '')::uuid
                OR department_id = ANY (
                    nullif(current_setting('wt.departments', true), '')::uuid[])
                OR stream_type IN ('department', 'user', 'verification_rule', 'flightplan')));

COMMENT ON COLUMN verification_due.due IS 'patient, task, rule, visit, order';
